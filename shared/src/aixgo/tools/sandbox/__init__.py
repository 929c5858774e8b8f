"""Functions that run in a process of their own, with limits.

It keeps mistakes and greedy code away from the service: memory, processor time, files, the
network and the service's environment. It is not a jail for hostile code, which can still read
every file that the service's user can read.
"""

from aixgo.tools.sandbox.tool import SandboxedTool, probe

__all__ = ["SandboxedTool", "probe"]
