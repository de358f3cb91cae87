"""What gateway and broker say to each other: versioned values. Pure.

Here are all of them, from their rooms: `frames_up`, `frames_down`, and the `parts` they are made of.

Rules:
1. Whatever changes in a frame, a new field with a default too, raises `VERSION`: an end reads no field that it does
   not know (`codec`). Ends of different versions part at `Hello`, each of them: later they would fail each other ask
   by ask (`parting`). What the frames of this version look like is kept beside the tests
   (`tests/vectors/link.json`).
2. Requests carry `ask`, and their answers the same number. Changes carry `change`, and are acknowledged once they
   are in force; what could not be put in force is answered as that (`NotInForce`), and why.
3. Secrets travel in `Material` and in `LeaseGranted.verifier` only, once each; their reprs are redacted.
4. What counts in the record (epochs, versions, rules) goes with the `history` that it was counted in, and means
   nothing in another.
5. The gateway counts a lease from when it sent `OpenLease` or `Renew`; `ttl_us` is what the broker grants.
"""

from broker.link.frames_down import (
    AllGates,
    AskFailed,
    CallsForgotten,
    CallsKept,
    CallsNotKept,
    Canary,
    CloseNow,
    Cutover,
    GateChanged,
    Goodbye,
    LeaseGranted,
    LeaseRefused,
    Marked,
    Material,
    Moved,
    OwnerAnswer,
    PolicyChanged,
    Renewed,
    Serves,
    SliceLent,
    SpoolClosed,
    StakeAnswer,
    Welcome,
    Wipe,
)
from broker.link.frames_up import (
    Ack,
    Acted,
    AskGates,
    AskSlice,
    Calls,
    CanaryDone,
    CloseSlices,
    EndLease,
    Health,
    Hello,
    KeyWord,
    Landed,
    NotInForce,
    OpenLease,
    OwnerQuery,
    Release,
    Renew,
    SpoolDone,
    StakeQuery,
    Trouble,
    Uses,
)
from broker.link.parts import (
    ClaimPart,
    ClosingPart,
    EgressPart,
    GateState,
    Mount,
    SlicePart,
    Successor,
    UnheardPart,
    VerifierPart,
)

__all__ = [
    "VERSION",
    "Ack",
    "Acted",
    "AllGates",
    "AskFailed",
    "AskGates",
    "AskSlice",
    "Calls",
    "CallsForgotten",
    "CallsKept",
    "CallsNotKept",
    "Canary",
    "CanaryDone",
    "ClaimPart",
    "CloseNow",
    "CloseSlices",
    "ClosingPart",
    "Cutover",
    "Down",
    "EgressPart",
    "EndLease",
    "Frame",
    "GateChanged",
    "GateState",
    "Goodbye",
    "Health",
    "Hello",
    "KeyWord",
    "Landed",
    "LeaseGranted",
    "LeaseRefused",
    "Marked",
    "Material",
    "Mount",
    "Moved",
    "NotInForce",
    "OpenLease",
    "OwnerAnswer",
    "OwnerQuery",
    "PolicyChanged",
    "Release",
    "Renew",
    "Renewed",
    "Serves",
    "SliceLent",
    "SlicePart",
    "SpoolClosed",
    "SpoolDone",
    "StakeAnswer",
    "StakeQuery",
    "Successor",
    "Trouble",
    "UnheardPart",
    "Up",
    "Uses",
    "VerifierPart",
    "Welcome",
    "Wipe",
]

VERSION = 10

Up = (
    Hello | OpenLease | Renew | EndLease | AskSlice | CloseSlices | Release | Calls | SpoolDone | OwnerQuery
    | Ack | NotInForce | Landed | AskGates | CanaryDone | Health | StakeQuery
    | Acted | Uses
)  # fmt: skip
Down = (
    Welcome | Serves | Material | LeaseGranted | LeaseRefused | Renewed | GateChanged | CloseNow | PolicyChanged
    | Canary | Cutover | SliceLent | OwnerAnswer | CallsKept | CallsNotKept | SpoolClosed | AskFailed | AllGates | Wipe
    | Goodbye | StakeAnswer | CallsForgotten | Marked
)  # fmt: skip
Frame = Up | Down
