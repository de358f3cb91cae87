"""Answers by which a real key leaves: it comes into its answer last.

Rules:
1. A route names what leaves (`leaves`) and answers without it. It is put into the answer after all that this waits for
   (`OnceRoute`): the record of its idempotency key too, which is kept without it.
2. The look before that is made in a thread. It counts in the loop's own step in which the answer goes, or it is made
   anew: a cut is answered by the same loop.
3. Where the key may not leave, the answer is that refusal, and what was made for it is ended (`HandedOut`).
"""

import json

from fastapi import Request, Response
from starlette.responses import JSONResponse

from broker.api.lanes import run
from broker.service.checkouts import HandedOut
from broker.service.last_look import LOOKS, too_slow

_LEAVES = "portcullis.leaves"


def leaves(request: Request, handed: HandedOut) -> None:
    """Name the key that is to leave by the answer to a request."""
    request.scope[_LEAVES] = handed


async def completed(request: Request, answer: Response) -> Response:
    """Return an answer as it goes: with the key that leaves by it, if one does. Nothing may be waited for after this.

    Raises:
        BrokerError: It may not leave; what a look raises.
    """
    handed = request.scope.pop(_LEAVES, None)
    if not isinstance(handed, HandedOut):
        return answer
    document = json.loads(bytes(answer.body))
    for _ in range(LOOKS):
        secret = handed.take(await run(handed.look))
        if secret is not None:
            return JSONResponse(document | {"secret": secret.reveal()}, answer.status_code)
    fault = too_slow()
    await run(handed.withhold, fault)
    raise fault
