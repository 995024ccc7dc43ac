"""Images and labels from files that nobody vouches for, and from arrays: what is taken, and what is refused unread."""

import io
import struct
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from systolith import npz
from systolith.data import load_data
from systolith.quant import DataError

X = (np.arange(3 * 2 * 4 * 5, dtype=np.float32) - 50).reshape(3, 2, 4, 5)
MAKE = "numpy.savez(path, x=images) makes one"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def with_header(header: str, values: bytes = b"", version: int = 1) -> bytes:
    """An .npy file with any header."""
    length = struct.pack("<H" if version == 1 else "<I", len(header.encode()))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + values


def stating(shape: str, descr: str = "'<f4'", values: bytes = b"") -> bytes:
    return with_header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n", values)


def archive(*members: tuple[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile("data.npz", "w", compression) as file:
        warnings.simplefilter("ignore")  # of two members with one name
        for name, content in members:
            file.writestr(name, content)


def encrypted() -> None:
    """Says that it is: Python's zipfile reads such archives and writes none."""
    archive(("x.npy", npy(X)))
    data = bytearray(Path("data.npz").read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    Path("data.npz").write_bytes(data)


def save(**arrays) -> None:
    np.savez("data.npz", **arrays)


DAMAGED = "'data.npz': x is damaged, or no array that numpy.save wrote"
NO_NPZ = f"'data.npz' is not an .npz file, or it is truncated; {MAKE}"
SHAPE = "it must be NxCxHxW, NxCxDxHxW, NxCxL or NxK"

REFUSED = {
    "no file": (lambda: None, "cannot read the data 'data.npz': No such file or directory"),
    "a folder": (lambda: Path("data.npz").mkdir(), "cannot read the data 'data.npz': Is a directory"),
    "a device": (  # not one without end: the test should fail, not hang, if it is read
        lambda: Path("data.npz").symlink_to("/dev/null"),
        "cannot read the data 'data.npz': it is no ordinary file, but a device or a pipe",
    ),
    "text": (lambda: Path("data.npz").write_bytes(b"hello"), NO_NPZ),
    "nothing in it": (lambda: Path("data.npz").write_bytes(b""), NO_NPZ),
    "truncated": (lambda: (save(x=X), Path("data.npz").write_bytes(Path("data.npz").read_bytes()[:-30])), NO_NPZ),
    "an npy file": (
        lambda: Path("data.npz").write_bytes(npy(X)),
        f"'data.npz' is an .npy file, of one array, not an .npz file; {MAKE}",
    ),
    "no x": (
        lambda: save(a=X, b=X),
        "'data.npz' has no array 'x' (it holds a, b); store the images as x, NxCxHxW",
    ),
    "two x": (lambda: archive(("x.npy", npy(X)), ("x.npy", npy(X))), "'data.npz' holds 2 arrays 'x'; store one"),
    "encrypted": (encrypted, f"'data.npz': x is encrypted; {MAKE} that is not"),
    "another compression": (
        lambda: archive(("x.npy", npy(X)), compression=zipfile.ZIP_BZIP2),
        "'data.npz': x is compressed by method 12; numpy uses deflate",
    ),
    "x is text": (lambda: archive(("x", b"hello")), DAMAGED),
    "x is an archive": (lambda: (save(x=X), archive(("x.npy", Path("data.npz").read_bytes()))), DAMAGED),
    "an open bracket": (lambda: archive(("x.npy", with_header("{'descr': ("))), DAMAGED),
    "brackets without end": (lambda: archive(("x.npy", with_header("(" * 4000))), DAMAGED),
    "signs without end": (lambda: archive(("x.npy", with_header("-" * 4000 + "1"))), DAMAGED),
    "a header without end": (lambda: archive(("x.npy", with_header(" " * 100_000, version=2))), DAMAGED),
    "keys of all kinds": (lambda: archive(("x.npy", with_header("{1: 2, 'descr': 3, None: 4}"))), DAMAGED),
    "a type that is none": (lambda: archive(("x.npy", stating("(3, 2, 4, 5)", "'<q9'"))), DAMAGED),
    "a version to come": (lambda: archive(("x.npy", with_header("{}", version=4))), DAMAGED),
    "a negative shape": (lambda: archive(("x.npy", stating("(3, 2, -4, 5)"))), DAMAGED),
    "fewer bytes than stated": (
        lambda: archive(("x.npy", stating("(3, 2, 4, 5)", values=bytes(479)))),
        "'data.npz': x states 3x2x4x5 float32, 480 bytes, and has 479; the file is damaged",
    ),
    "more bytes than stated": (
        lambda: archive(("x.npy", npy(X) + b"!")),
        "'data.npz': x states 3x2x4x5 float32, 480 bytes, and has 481; the file is damaged",
    ),
    "more than the budget": (
        lambda: archive(("x.npy", stating("(8, 1024, 1024, 65)"))),
        "'data.npz': x, 8x1024x1024x65 float32, takes more than 2 GiB; use fewer images",
    ),
    "more than the budget as float32": (
        lambda: archive(("x.npy", stating("(8, 1024, 1024, 65)", "'|u1'"))),
        "'data.npz': x, 8x1024x1024x65 uint8, takes more than 2 GiB; use fewer images",
    ),
    "more labels than the budget": (
        lambda: archive(("x.npy", stating("(300_000_000, 0, 1)")), ("y.npy", stating("(300_000_000,)", "'<i8'"))),
        "'data.npz': y, 300000000 int64, takes more than 2 GiB; use fewer images",
    ),
    "objects": (
        lambda: save(x=np.array([{}], object)),
        "'data.npz': x has type object; it must be real numbers, best float32",
    ),
    "complex": (
        lambda: save(x=X.astype(complex)),
        "'data.npz': x has type complex128; it must be real numbers, best float32",
    ),
    "strings": (lambda: save(x=np.array("a")), "'data.npz': x has type <U1; it must be real numbers, best float32"),
    "rank 1": (lambda: save(x=X[0, 0, 0]), f"'data.npz': x has shape 5; {SHAPE}"),
    "one number": (lambda: save(x=np.float32(1)), f"'data.npz': x has shape of one number; {SHAPE}"),
    "too few labels": (
        lambda: save(x=X, y=np.arange(2)),
        "'data.npz': y has type int64 and shape 2; it must be 3 integers",
    ),
    "labels in a row": (
        lambda: save(x=X, y=np.arange(3)[None]),
        "'data.npz': y has type int64 and shape 1x3; it must be 3 integers",
    ),
    "float labels": (
        lambda: save(x=X, y=np.zeros(3)),
        "'data.npz': y has type float64 and shape 3; it must be 3 integers",
    ),
    "damaged labels": (
        lambda: archive(("x.npy", npy(X)), ("y.npy", b"hello")),
        "'data.npz': y is damaged, or no array that numpy.save wrote",
    ),
    "tenths in float64": (
        lambda: save(x=X.astype(float) / 10),
        "x in 'data.npz' holds -4.9 in image 0, of type float64, which float32 does not hold exactly; "
        "x.astype(numpy.float32) rounds it",
    ),
    "beyond float32": (
        lambda: save(x=np.where(np.arange(3)[:, None, None, None] == 2, 1e300, X.astype(float))),
        "x in 'data.npz' holds 1e+300 in image 2, of type float64, which float32 does not hold exactly; "
        "x.astype(numpy.float32) rounds it",
    ),
    "integers beyond float32": (
        lambda: save(x=np.full((1, 1, 1, 1), 2**63 - 1)),
        "x in 'data.npz' holds 9223372036854775807 in image 0; "
        "integers may be -16777216 to 16777216, which float32 holds",
    ),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_refused_with_one_line(mistake):
    prepare, message = REFUSED[mistake]
    prepare()
    with pytest.raises(DataError) as raised:
        load_data("data.npz")
    assert str(raised.value) == message


def test_values_whose_checksum_is_wrong_are_refused():
    save(x=np.tile(X, (50, 1, 1, 1)))
    data = bytearray(Path("data.npz").read_bytes())
    data[len(data) // 2] ^= 1
    Path("data.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"^'data\.npz': the values of x are damaged$"):
        load_data("data.npz")


@pytest.mark.parametrize("kind", ["b", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "<f4", ">f4", ">f8", "g"])
@pytest.mark.parametrize("order", "CF")
def test_any_real_type_in_any_order_becomes_the_same_float32(kind, order):
    x = np.asarray(np.abs(X) > 3 if kind == "b" else np.abs(X) if kind[0] == "u" else X).astype(kind, order=order)
    save(x=x)
    for data in (load_data("data.npz"), load_data(Path("data.npz")), load_data(x)):
        assert (data.x.dtype, data.x.flags.c_contiguous, data.y) == (np.float32, True, None)
        np.testing.assert_array_equal(data.x, x)


def test_a_signal_is_one_row_and_is_named_so():
    save(x=X[:, :, 0])
    data = load_data("data.npz")
    np.testing.assert_array_equal(data.x, X[:, :, :1])
    assert data.called == {"x": "x in 'data.npz', read as NxCxL,"}


@pytest.mark.parametrize("labels", [np.array([1, 0, 2]), np.array([[1], [0], [2]], np.uint8)])
def test_labels_may_stand_in_a_column(labels):
    save(x=X, y=labels)
    for data in (load_data("data.npz"), load_data((X, labels)), load_data(X, labels), load_data(X, labels.tolist())):
        np.testing.assert_array_equal(data.y, [1, 0, 2])


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        ((X, [0, 1]), None, "y has type int64 and shape 2; it must be 3 integers"),
        (X, [0, 1], "labels has type int64 and shape 2; it must be 3 integers"),
        ((X, [0, 1, 2]), [0, 1, 2], "labels are given twice, as labels and as y; give them once"),
        ((X, X, X), None, "a tuple of 3 is no pair of images and labels (x, y)"),
        (X[0, 0, 0], None, f"x has shape 5; {SHAPE}"),
        ({"z": X}, None, "the network reads 'x', but there are arrays for 'z'"),
    ],
)
def test_arrays_that_are_refused(inputs, labels, message):
    with pytest.raises(DataError) as raised:
        load_data(inputs, labels)
    assert str(raised.value) == message


def test_ragged_lists_are_refused():
    with pytest.raises(DataError, match=r"^x cannot be made a NumPy array: setting an array element with a sequence"):
        load_data([[1, 2], [3]])


def test_an_array_beyond_the_budget_is_not_inflated(monkeypatch):
    np.savez_compressed("data.npz", x=np.zeros((64, 1, 512, 512), np.float32))
    assert Path("data.npz").stat().st_size < 2**17
    monkeypatch.setattr(npz, "ARRAY_BYTES_MAX", 2**26 - 1)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="takes more than"):
            load_data("data.npz")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    monkeypatch.setattr(npz, "ARRAY_BYTES_MAX", 2**26)
    assert load_data("data.npz").x.nbytes == 2**26


@settings(deadline=None, max_examples=300, derandomize=True)
@given(st.data())
def test_a_file_with_a_wrong_byte_is_refused_or_read_rightly(data):
    save(x=X)
    content = bytearray(Path("data.npz").read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    Path("data.npz").write_bytes(content)
    try:
        found = load_data("data.npz")
    except DataError:
        return
    np.testing.assert_array_equal(found.x, X)


HEADERS = st.fixed_dictionaries(
    {
        "descr": st.sampled_from(["<f4", "|O", "<U0", "", ("<f4", (2**40,)), [("a", "<f4")], [], None, 7, "f4,f4"]),
        "fortran_order": st.sampled_from([True, False, 1, None]),
        "shape": st.one_of(
            st.none(), st.lists(st.integers(-1, 2**70), max_size=5).map(tuple), st.just((True, 1, 1, 1))
        ),
    }
).map(repr)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(st.one_of(HEADERS, st.text(st.characters(max_codepoint=127), max_size=200)), st.sampled_from([1, 2]))
def test_any_header_is_refused_or_read_rightly(header, version):
    archive(("x.npy", with_header(header, bytes(4), version)))
    try:
        found = load_data("data.npz")
    except DataError:
        return
    assert (found.x.shape, found.x.item()) == ((1, 1, 1, 1), 0)


@settings(deadline=None, derandomize=True)
@given(hnp.arrays(st.sampled_from([np.int64, np.uint64, np.int32, np.float64]), (1, 1, 1, 2)))
def test_numbers_are_taken_only_if_float32_holds_them(x):
    try:
        found = load_data(x).x
    except DataError:
        with np.errstate(over="ignore"):
            numbers = [number for number in x.flat if number == number]
            assert any(abs(n.item()) > 2**24 or float(np.float32(n)) != n for n in numbers)
    else:
        for single, value in zip(found.flat, x.flat, strict=True):
            assert float(single) == value.item() or value != value
