"""Writes core/token/unicode_table.c: what the reference tokenizer takes each code point for.

Asks the installed `tokenizers` about every code point, and utf8proc (through ctypes) for the mappings
that the C code takes from it; where the two differ, the table carries the reference's own mapping.

    python unicode_table.py > ../../../core/token/unicode_table.c
"""

import argparse
import ctypes
import sys

if __name__ == "__main__":  # --help and mistakes before the imports that not everybody has
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()

import tokenizers  # noqa: E402
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers  # noqa: E402

REMOVED, SPACE, MARK, PUNCTUATION, HAN, WORD, DECOMPOSES, LOWERS, COMBINING = (1 << n for n in range(9))
FLAG_BITS = 11

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


class Utf8proc:
    def __init__(self):
        self.library = ctypes.CDLL("libutf8proc.so.2")
        self.library.utf8proc_get_property.restype = ctypes.POINTER(ctypes.c_int16)
        self.library.utf8proc_unicode_version.restype = ctypes.c_char_p
        self.buffer = (ctypes.c_int32 * 32)()
        self.boundary = ctypes.c_int()

    def unicode_version(self):
        return self.library.utf8proc_unicode_version().decode()

    def decompose(self, c):
        self.boundary.value = 0
        size = self.library.utf8proc_decompose_char(c, self.buffer, 32, 1 << 4, ctypes.byref(self.boundary))
        return [self.buffer[i] for i in range(size)]

    def lower(self, c):
        return [self.library.utf8proc_tolower(c)]

    def combining_class(self, c):
        return self.library.utf8proc_get_property(c)[1]


def bert(**on):
    off = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    normalizer = normalizers.BertNormalizer(**{**off, **on})
    return lambda text: normalizer.normalize_str(text)


def word_characters():
    """Regex class \\w, as single_word uses it: a neighbour of that class hides the added token."""
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_tokens([AddedToken("q", single_word=True, normalized=False)])
    return {c for c in CODE_POINTS if 1 not in tokenizer.encode(chr(c) + "q").ids}


def stripped_characters():
    """What lstrip takes for blank."""
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_tokens([AddedToken("q", lstrip=True, normalized=False)])
    return {c for c in CODE_POINTS if tokenizer.encode(chr(c) + "q").offsets[-1][0] == 0}


def combining_classes(utf8proc, nfd):
    """Code point -> combining class by the reference, found by how NFD reorders it against marks whose
    class is known."""
    low, high = "\u0334", "\u0345"  # classes 1 and 240, the ends of the scale
    combining = [c for c in CODE_POINTS
                 if nfd(chr(c)) == chr(c)
                 and (nfd("a" + chr(c) + low)[1] != chr(c) or nfd("a" + high + chr(c))[1] != high)
                 and chr(c) not in (low, high)] + [ord(low), ord(high)]
    ladder = {}
    for c in combining:
        ladder.setdefault(utf8proc.combining_class(c), chr(c))
    ladder.pop(0, None)

    def same_class(c, rung):
        return nfd("a" + rung + chr(c)) == "a" + rung + chr(c) and nfd("a" + chr(c) + rung) == "a" + chr(c) + rung

    classes = {}
    for c in combining:
        found = [value for value, rung in ladder.items() if same_class(c, rung)]
        assert len(found) == 1, hex(c)
        classes[c] = found[0]
    return classes


def flags_of_all(nfd, classes):
    clean, strip, lower = bert(clean_text=True), bert(strip_accents=True), bert(lowercase=True)
    han = bert(handle_chinese_chars=True)
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    words, blanks = word_characters(), stripped_characters()
    table = {}
    for c in CODE_POINTS:
        text = chr(c)
        pieces = len(split("a" + text + "b"))
        flags = 0
        flags |= REMOVED if clean(text) == "" else 0
        flags |= SPACE if pieces == 2 else 0
        flags |= MARK if strip(text) == "" and nfd(text) == text else 0
        flags |= PUNCTUATION if pieces == 3 else 0
        flags |= HAN if han(text) != text else 0
        flags |= WORD if c in words else 0
        flags |= DECOMPOSES if nfd(text) != text else 0
        flags |= LOWERS if lower(text) != text else 0
        flags |= COMBINING if c in classes else 0
        # What the C code leans on.
        assert (c in blanks) == bool(flags & SPACE), hex(c)
        assert flags & REMOVED or clean(text) == (" " if flags & SPACE else text), hex(c)
        assert not flags & HAN or han(text) == " " + text + " ", hex(c)
        assert not flags & COMBINING or not flags & (SPACE | PUNCTUATION | HAN | LOWERS), hex(c)
        table[c] = flags
    return table


def ranges(table):
    found, before = [], None
    for c in range(0x110000):
        flags = table.get(c, before)
        if flags != before:
            found.append((c, flags))
        before = flags
    return found


def rows(values, width):
    return [", ".join(values[i:i + width]) + "," for i in range(0, len(values), width)]


def main():
    utf8proc = Utf8proc()
    normalizer = normalizers.NFD()
    nfd = normalizer.normalize_str
    lower = bert(lowercase=True)
    classes = combining_classes(utf8proc, nfd)
    table = flags_of_all(nfd, classes)
    mappings = []
    for kind, flag, ours, theirs in (("LOWERS", LOWERS, utf8proc.lower, lower),
                                     ("DECOMPOSES", DECOMPOSES, utf8proc.decompose, nfd)):
        for c in CODE_POINTS:
            wanted = [ord(x) for x in theirs(chr(c))]
            if table[c] & flag and ours(c) != wanted:
                assert len(wanted) <= 2, hex(c)
                padded = wanted + [0] * (2 - len(wanted))
                mappings.append("{0x%06X, RR_UNICODE_%s, {0x%X, 0x%X}}" % (c, kind, *padded))
    wrong_class = ["{0x%06X, RR_UNICODE_COMBINING, {%d, 0}}" % (c, value)
                   for c, value in sorted(classes.items()) if utf8proc.combining_class(c) != value]
    mappings = sorted(mappings + wrong_class)
    packed = ["0x%08X" % (start << FLAG_BITS | flags) for start, flags in ranges(table)]
    print("""/* Made by tests/golden/token/unicode_table.py from tokenizers %s and utf8proc (Unicode %s);
 * edit that, not this. */
#include "core/token/unicode.h"

/* clang-format off */
const uint32_t rr_unicode_ranges[] = {""" % (tokenizers.__version__, utf8proc.unicode_version()))
    for row in rows(packed, 8):
        print("  " + row)
    print("};\nconst size_t rr_unicode_range_count = sizeof rr_unicode_ranges / sizeof rr_unicode_ranges[0];\n")
    print("const rr_unicode_mapping rr_unicode_mappings[] = {")
    for row in rows(mappings, 2):
        print("  " + row)
    print("};\nconst size_t rr_unicode_mapping_count = sizeof rr_unicode_mappings / "
          "sizeof rr_unicode_mappings[0];")
    print("%d ranges, %d mappings" % (len(packed), len(mappings)), file=sys.stderr)


if __name__ == "__main__":
    main()
