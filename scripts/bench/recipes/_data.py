"""_data: made-up text for the inputs of recipes, the same on every machine: all of it comes from seeded generators."""

import random


def write(folder, name, text):
    """Write text (or bytes) into folder/name and return its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def vocabulary(seed, size):
    """That many pronounceable words of 2 to 11 letters, without repetition, in no order."""
    rng, found = random.Random(seed), {}
    while len(found) < size:
        found["".join(rng.choice("bcdfghklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randrange(1, 5)))
              + rng.choice(("", "n", "s", "rt"))] = None
    return list(found)


class Prose:
    """Draws words from a vocabulary, the first ones most often (the density falls with the square root of the rank)."""

    def __init__(self, seed, size=3000):
        self.rng, self.words = random.Random(seed), vocabulary(seed, size)

    def word(self):
        return self.words[int(len(self.words) * self.rng.random() ** 2)]

    def text(self, count):
        """`count` words with blanks between."""
        return " ".join(self.word() for _ in range(count))
