"""Run recurrent networks one frame at a time, with the same bits on every CPU.

>>> model = rnnrt.load("model.rnnrt")     # mmapped, immutable, shared by threads, picklable
>>> y = model(x)                          # whole sequence, from zero state
>>> stream = model.stream()               # carries the state; one per signal
>>> y = stream.step(frame)                # microseconds
>>> streams = model.streams()             # many that come and go, stepped together
"""

from rnnrt._rnnrt import __version__, isas
from rnnrt.errors import ModelFormatError, RnnrtError, UnsupportedError, VerificationError
from rnnrt.model import Model, Stream, TensorInfo, load
from rnnrt.streams import StreamBatch

__all__ = [
    "Model",
    "ModelFormatError",
    "RnnrtError",
    "Stream",
    "StreamBatch",
    "TensorInfo",
    "UnsupportedError",
    "VerificationError",
    "__version__",
    "isas",
    "load",
]
