"""Cleans live sound between two programs: raw 16-bit mono samples at 16 kHz from standard input to standard output.

    arecord -q -f S16_LE -r 16000 -c 1 -t raw | python examples/stream_microphone.py nsnet2.rnnrt |
        aplay -q -f S16_LE -r 16000 -c 1 -t raw

Any source and sink of raw samples will do (ffmpeg, sox, a socket). The sound comes out 20 ms after it went in: 10 ms
to fill a hop and 10 ms of overlap between windows.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

import rnnrt
from denoise import HOP, Denoiser


def main() -> int:
    """Command line: runs until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL.rnnrt")
    denoiser = Denoiser(rnnrt.load(parser.parse_args().model))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while len(raw := source.read(2 * HOP)) == 2 * HOP:
        clean = denoiser.push(np.frombuffer(raw, "<i2") / 32768)
        sink.write(np.clip(np.rint(clean * 32768), -32768, 32767).astype("<i2").tobytes())
        sink.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
