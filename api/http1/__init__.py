"""HTTP/1.1 for hypercorn at the speed of llhttp: one `asyncio.Protocol` in the place of hypercorn's own HTTP/1 class.

undo = install(Limits())    # before hypercorn.asyncio.run.worker_serve; undo() puts hypercorn's class back
"""

from api.http1.limits import Limits
from api.http1.plug import install

__all__ = ["Limits", "install"]
