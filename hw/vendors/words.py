"""How the accelerator is called in vendors' tools, and what every file for them says of itself."""

from ..isa.parameters import VERSION as ENGINE

VENDOR, LIBRARY, NAME = "systolith", "accelerator", "systolith"
VERSION = f"{ENGINE}.0"
"""Of registers and instructions: who can drive one accelerator of a version can drive all."""
VLNV = f"{VENDOR}:{LIBRARY}:{NAME}:{VERSION}"

CHECKED = "It was checked against schemas and stubs, and never in the vendor's tool."

UIO, MEMORY = "systolith", "udmabuf0"
"""What Linux calls registers and memory, after a device-tree overlay."""
