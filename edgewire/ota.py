"""Firmware updates in words: everything of `ota_codes`, `ota_fields`, `ota_messages` and `ota_manifest`. No I/O, no crypto.

The gateway offers an image (`ota/offer`); the board asks for it piece by piece (`ota/get`) and gets the pieces (`ota/chunk`).
What it asks for is one stream of bytes: the manifest, then the files in the manifest's order. The manifest's sha256 is the
image's id, and its bytes are what is signed, so that whoever believes the signature can check every byte that follows.

Boards import the parts, each when it is needed, for their heap is small.
"""

from edgewire.ota_codes import *  # noqa: F403
from edgewire.ota_fields import *  # noqa: F403
from edgewire.ota_manifest import *  # noqa: F403
from edgewire.ota_messages import *  # noqa: F403
