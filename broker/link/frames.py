"""What gateway and broker say to each other: versioned values. Pure.

Here are all of them, from their rooms: `frames_up`, `frames_down`, and the `parts` they are made of.

Rules:
1. Append only: a new field has a default, a new frame a new name. `VERSION` rises when an old end could
   misread a new one; ends of different versions part at `Hello`.
2. Requests carry `ask`, and their answers the same number. Changes carry `change`, and are acknowledged once they
   are in force; what could not be applied is not acknowledged.
3. Secrets travel in `Material` and in `LeaseGranted.verifier` only, once each; their reprs are redacted.
4. The gateway counts a lease from when it sent `OpenLease` or `Renew`; `ttl_us` is what the broker grants.
"""

from broker.link.frames_down import (
    AllGates,
    AskFailed,
    CallsKept,
    CallsNotKept,
    Canary,
    CloseNow,
    Cutover,
    GateChanged,
    Goodbye,
    LeaseGranted,
    LeaseRefused,
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
    OpenLease,
    OwnerQuery,
    Release,
    Renew,
    SpoolDone,
    StakeQuery,
    Trouble,
)
from broker.link.parts import (
    ClaimPart,
    ClosingPart,
    EgressPart,
    GateState,
    Mount,
    SlicePart,
    Successor,
    VerifierPart,
)

__all__ = [
    "VERSION",
    "Ack",
    "AllGates",
    "AskFailed",
    "AskGates",
    "AskSlice",
    "Calls",
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
    "Material",
    "Mount",
    "Moved",
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
    "Up",
    "VerifierPart",
    "Welcome",
    "Wipe",
]

VERSION = 3

Up = (
    Hello | OpenLease | Renew | EndLease | AskSlice | CloseSlices | Release | Calls | SpoolDone | OwnerQuery
    | Ack | Landed | AskGates | CanaryDone | Health | StakeQuery
)  # fmt: skip
Down = (
    Welcome | Serves | Material | LeaseGranted | LeaseRefused | Renewed | GateChanged | CloseNow | PolicyChanged
    | Canary | Cutover | SliceLent | OwnerAnswer | CallsKept | CallsNotKept | SpoolClosed | AskFailed | AllGates | Wipe
    | Goodbye | StakeAnswer
)  # fmt: skip
Frame = Up | Down
