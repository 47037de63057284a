"""Remote writes as bytes, and Prometheus's compression."""

import struct

import pyarrow as pa


def varint(number):
    number &= 2**64 - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def zigzag(number):
    return varint((number << 1) ^ (number >> 63))


def of_bytes(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def of_number(number, value):
    return varint(number << 3) + varint(value)


def of_double(number, value):
    return varint(number << 3 | 1) + struct.pack("<d", value)


def sample(value, ms, start_ms=None):
    more = b"" if start_ms is None else of_number(3, start_ms)
    return of_double(1, value) + of_number(2, ms) + more


def write_1(*series):
    """Each series is (labels, samples[, histograms])."""
    out = b""
    for labels, samples, *histograms in series:
        text = b"".join(
            of_bytes(1, of_bytes(1, name.encode()) + of_bytes(2, value.encode()))
            for name, value in labels.items()
        )
        text += b"".join(of_bytes(2, sample(*one)) for one in samples)
        text += b"".join(of_bytes(4, one) for one in (histograms or [()])[0])
        out += of_bytes(1, text)
    return out


def write_2(*series, kind=0):
    symbols = [""]
    out = b""

    def reference(text):
        if text not in symbols:
            symbols.append(text)
        return symbols.index(text)

    for labels, samples, *histograms in series:
        references = b"".join(varint(reference(part)) for item in labels.items() for part in item)
        text = of_bytes(1, references)
        text += b"".join(of_bytes(2, sample(*one)) for one in samples)
        text += b"".join(of_bytes(3, one) for one in (histograms or [()])[0])
        text += of_bytes(5, of_number(1, kind) + of_number(3, reference("what it is")))
        out += of_bytes(5, text)
    return b"".join(of_bytes(4, one.encode()) for one in symbols) + out


def histogram(ms):
    """Integers: buckets 0, 1 and 5 with 1, 2 and 4; schema 1; one negative at -1 with 3."""
    return b"".join(
        [
            *(of_number(1, 11), of_double(3, 2.5), varint(4 << 3) + zigzag(1)),
            *(of_double(5, 0.001), of_number(6, 1)),
            of_bytes(8, varint(1 << 3) + zigzag(-1) + of_number(2, 1)),
            of_bytes(9, zigzag(3)),
            of_bytes(11, varint(1 << 3) + zigzag(0) + of_number(2, 2)),
            of_bytes(11, varint(1 << 3) + zigzag(3) + of_number(2, 1)),
            of_bytes(12, zigzag(1) + zigzag(1) + zigzag(2)),
            of_number(15, ms),
        ]
    )


def snappy(content):
    return pa.compress(content, codec="snappy", asbytes=True)
