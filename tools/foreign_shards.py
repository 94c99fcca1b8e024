"""Token files as other programs write them, for tests/data/foreign.rs: `python tools/foreign_shards.py tests/foreign`,
with numpy, torch, safetensors, pyarrow, h5py, zstandard and lz4.

NumPy's own `save`, and indices as Megatron-LM's builder makes them: version 1, sizes (i32), pointers (i64), document
list (i64), where old `merge_file_` appended the sizes of the other file and left the document list as it was.
"""
import bz2
import gzip
import lzma
import pathlib
import pickle
import struct
import sys

import h5py
import lz4.frame
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import safetensors.numpy
import torch
import zstandard

out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
tokens = np.array([1, 2, 3, 500, 65535, 7], dtype=np.int64)

for name in ["u2", "i4", "u4", "i8", "u8"]:
    np.save(out / f"{name}.npy", tokens.astype("<" + name))
for name in ["u1", "i1"]:
    np.save(out / f"{name}.npy", np.array([1, 2, 127], dtype=name))
np.save(out / "rows.npy", tokens.astype("<u2").reshape(2, 3))
np.save(out / "columns.npy", np.asfortranarray(tokens.astype("<u2").reshape(2, 3)))
np.save(out / "one-column.npy", np.asfortranarray(tokens.astype("<u2").reshape(6, 1)))
np.save(out / "negative.npy", np.array([1, -1], dtype="<i4"))
np.save(out / "large.npy", np.array([1, 1 << 40], dtype="<i8"))
np.save(out / "big-endian.npy", tokens.astype(">u2"))
np.save(out / "float.npy", tokens.astype("<f4"))
np.save(out / "bool.npy", np.array([True, False]))
np.save(out / "scalar.npy", np.array(5, dtype="<u2"))
np.save(out / "empty.npy", np.array([], dtype="<u2"))
np.save(out / "object.npy", np.array([1, "a"], dtype=object), allow_pickle=True)
np.save(out / "records.npy", np.array([(1, 2)], dtype=[("a", "<u2"), ("b", "<u2")]))
for version in [(2, 0), (3, 0)]:
    with open(out / f"version{version[0]}.npy", "wb") as f:
        np.lib.format.write_array(f, tokens.astype("<u2"), version=version)

# Files that are no tokens.
np.savez(out / "arrays.npz", tokens=tokens)
(out / "list.pkl").write_bytes(pickle.dumps(list(range(100)), protocol=4))
small = tokens[:4].astype("<u2")
safetensors.numpy.save_file({"w": small}, out / "small.safetensors")
torch.save(torch.from_numpy(small.astype("i2")), out / "zip.pt")
torch.save(torch.from_numpy(small.astype("i2")), out / "old.pt", _use_new_zipfile_serialization=False)
text = "the same text again and again; ".encode() * 4
(out / "text.gz").write_bytes(gzip.compress(text, mtime=0))
(out / "text.bz2").write_bytes(bz2.compress(text))
(out / "text.xz").write_bytes(lzma.compress(text))
(out / "text.zst").write_bytes(zstandard.compress(text))
(out / "text.lz4").write_bytes(lz4.frame.compress(text))
(out / "text.txt").write_bytes(text)
table = pa.table({"input_ids": pa.array([1, 2, 3], pa.int32())})
pyarrow.parquet.write_table(table, out / "table.parquet")
# Texts: a column and one in a struct, with rows that have none, in row groups of 300; packed in ways that are read, and in one
# that is not.
rows = [None if i % 97 == 5 else f"row {i} says é {i * i}" for i in range(700)]
texts = pa.table({"id": pa.array(range(700), pa.int64()), "text": pa.array(rows), "list": pa.array([[r or ""] for r in rows]),
                  "meta": pa.array([{"text": r, "n": i} if i % 3 else None for i, r in enumerate(rows)])})
for packing in ["none", "snappy", "zstd", "gzip"]:
    pyarrow.parquet.write_table(texts.select(["id", "text", "meta", "list"]).slice(0, 20 if packing == "gzip" else 700),
                                out / f"texts-{packing}.parquet", compression=packing, row_group_size=300,
                                use_dictionary=packing != "none", data_page_version="2.0" if packing == "zstd" else "1.0")
required = pa.schema([pa.field("text", pa.string(), nullable=False)])
pyarrow.parquet.write_table(pa.table({"text": ["a", "b"]}, schema=required), out / "texts-required.parquet")
# Numbers beside texts, in columns of several types; the first has one for each row.
numbers = [i % 5 for i in range(700)]
some = [None if i % 89 == 7 else n for i, n in enumerate(numbers)]
kinds = {"l": pa.int64(), "f": pa.float32(), "d": pa.float64()}
names = [pa.field("text", pa.string()), pa.field("i", pa.int32(), nullable=False)] + [pa.field(k, t) for k, t in kinds.items()]
columns = [pa.array([None if i % 97 == 5 else f"row {i}" for i in range(700)]), pa.array(numbers, pa.int32())]
columns += [pa.array(some, kind) for kind in kinds.values()] + [pa.array([{"w": n} for n in some], pa.struct({"w": pa.uint8()}))]
weights = pa.table(columns, schema=pa.schema(names + [pa.field("s", columns[-1].type)]))
pyarrow.parquet.write_table(weights, out / "weights.parquet", row_group_size=300, compression="snappy")
with pa.OSFile(str(out / "file.arrow"), "wb") as f, pa.ipc.new_file(f, table.schema) as w:
    w.write_table(table)
with pa.OSFile(str(out / "stream.arrow"), "wb") as f, pa.ipc.new_stream(f, table.schema) as w:
    w.write_table(table)
with h5py.File(out / "data.h5", "w") as f:
    f["tokens"] = small
(out / "dict.pkl").write_bytes(pickle.dumps({"tokens": list(range(100))}, protocol=2))


def index(name, sizes, documents, pointers=None):
    """u16 tokens that count from 0, and their index."""
    ends = np.cumsum([0] + sizes, dtype=np.int64) * 2
    pointers = ends[:-1] if pointers is None else np.array(pointers, dtype=np.int64)
    count = (int(pointers[-1]) + 2 * sizes[-1]) // 2
    np.arange(count, dtype="<u2").tofile(out / f"{name}.bin")
    with open(out / f"{name}.idx", "wb") as f:
        f.write(b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, len(sizes), len(documents)))
        f.write(np.array(sizes, dtype="<i4").tobytes() + pointers.astype("<i8").tobytes())
        f.write(np.array(documents, dtype="<i8").tobytes())


index("whole", [3, 1, 2, 4], [0, 1, 2, 4])
index("merged", [3, 1, 2, 4], [0])                      # a new builder, two merges
index("appended", [3, 1, 2, 4], [0, 1, 2])              # two documents of its own, then one merge
index("gap", [3, 1, 2, 4], [0, 1, 2, 3, 4], [0, 10, 12, 16])
index("overlap", [3, 1, 2, 4], [0, 1, 2, 3, 4], [0, 4, 6, 10])
