"""Makes g2p_words.txt: 500 words of a list and how g2p-en 2.1.0 itself spells them. Run only by hand.

    pip download --no-deps g2p-en==2.1.0 && unzip g2p_en-2.1.0-py3-none-any.whl -d FOLDER
    python tests/golden/make_g2p_words.py FOLDER /usr/share/dict/american-english

The package is run here, not in the tests: its network alone, without the dictionary and the tagger that nltk would
download. The list is that of Debian's wamerican.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

HERE = Path(__file__).parent
COUNT = 500


def stand_in(name: str, **content: object) -> None:
    """Put a module in place that is imported but not needed."""
    module = ModuleType(name)
    vars(module).update(content)
    sys.modules[name] = module


def main() -> None:
    """Write the file."""
    folder, words_file = sys.argv[1:]
    stand_in("nltk", pos_tag=None, data=SimpleNamespace(find=lambda name: None))
    stand_in("nltk.corpus", cmudict=SimpleNamespace(dict=dict))
    stand_in("nltk.tokenize", TweetTokenizer=lambda: SimpleNamespace(tokenize=None))
    stand_in("g2p_en.expand", normalize_numbers=None)
    sys.path.insert(0, folder)
    from g2p_en.g2p import G2p

    package = G2p()
    lines = Path(words_file).read_text(encoding="utf-8").split()
    words = sorted({word.lower() for word in lines if word.isascii() and word.isalpha() and len(word) > 1})
    chosen = sorted(random.Random(3).sample(words, COUNT))
    (HERE / "g2p_words.txt").write_text("".join(f"{word} {' '.join(package.predict(word))}\n" for word in chosen))


if __name__ == "__main__":
    main()
