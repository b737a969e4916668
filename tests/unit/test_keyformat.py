import math
import re
import string

from apikeys import keyformat

PREFIXES = ("sk-",)


def test_a_key_has_at_least_160_random_bits_and_a_shape_that_a_scanner_knows() -> None:
    assert keyformat.BODY_LENGTH * math.log2(len(keyformat.ALPHABET)) >= 160
    keys = {keyformat.generate("sk-").text for _ in range(1000)}
    assert len(keys) == 1000
    assert all(re.fullmatch(r"sk-[0-9A-Za-z]{36}", key) for key in keys)
    assert all(keyformat.is_well_formed(key, PREFIXES) for key in keys)


def test_every_single_typo_is_caught() -> None:
    key = keyformat.generate("sk-").text
    for index in range(len(key)):
        for wrong in string.ascii_letters + string.digits + "-_ \u0660":
            if wrong != key[index]:
                typo = key[:index] + wrong + key[index + 1 :]
                assert not keyformat.is_well_formed(typo, PREFIXES), typo


def test_swapped_neighbours_and_lost_ends_are_caught() -> None:
    key = keyformat.generate("sk-").text
    for i in range(3, len(key) - 1):
        if key[i] != key[i + 1]:
            swapped = key[:i] + key[i + 1] + key[i] + key[i + 2 :]
            assert not keyformat.is_well_formed(swapped, PREFIXES)
    for other in (key[:-1], key + "0", key[1:], f" {key}", f"{key}\n", "", "sk-"):
        assert not keyformat.is_well_formed(other, PREFIXES)


def test_the_checksum_covers_the_prefix() -> None:
    key = keyformat.generate("sk-").text
    moved = "pk-" + key.removeprefix("sk-")
    assert not keyformat.is_well_formed(moved, ("sk-", "pk-"))


def test_the_hint_tells_keys_apart_and_gives_nothing_away() -> None:
    secret = keyformat.generate("sk-")
    assert secret.hint == f"sk-…{secret.text[-4:]}"
    assert secret.digest == keyformat.digest(secret.text)
    assert secret.text not in repr(secret.hint) + secret.digest
