"""Makes rings with the reference's builder and writers, and looks things up in rings with the reference.

Questions: {"make": KIND, "seed": N, "path": FILE} writes a ring and answers {}.
{"look": FILE, "partitions": [P, ...] or null, "handoffs": LIMIT or null} answers with what the ring says, or with
{"error": TEXT} if the reference does not load it. What it cannot look up is null.
"""

import array
import gzip
import itertools
import json
import logging
import random
import struct
import sys

from swift.common import utils
from swift.common.ring import Ring, RingBuilder, RingData
from swift.common.ring.io import RingWriter

# Rings are not loaded without a hash suffix, which nothing here depends on.
utils.HASH_PATH_SUFFIX = b"oracle"
logging.disable(logging.CRITICAL)

HOSTS = ["storage-%d.example", "10.0.0.%d", "fd00::%d", "FD00:0::%d"]


def draw_device(rng, id, spread):
    host = rng.choice(HOSTS) % rng.randint(1, spread)
    device = {
        "id": id,
        "region": rng.randint(1, rng.choice([1, 1, 3])),
        "zone": rng.randint(0, rng.choice([1, 4])),
        "ip": host,
        "port": rng.randint(6200, 6203),
        "device": "sd%s" % "abcdefgh"[rng.randrange(8)],
        "weight": rng.choice([0, 0.5, 100.0, 100.0, 100, 8000.25]),
        "meta": rng.choice(["", "", "rack \u2603 5", 'a "quoted" one']),
    }
    if rng.random() < 0.7:
        device["replication_ip"] = rng.choice(HOSTS) % rng.randint(1, spread)
        device["replication_port"] = rng.randint(6200, 6203)
    return device


def make_built(rng, path):
    """What swift-ring-builder would write: devices added, removed, added again, with a balanced table."""
    replicas = rng.choice([1, 2, 3, 3, 1.25, 2.5, 3.75, 1 + 1e-6, rng.uniform(1, 4)])
    builder = RingBuilder(rng.choice([1, 2, 3, 4, 4, 5, 6, 7, 8, 10]), replicas, 0)
    ids = itertools.count(rng.choice([0, 0, 3]))
    count = rng.randint(12, 30)
    for id in itertools.islice(ids, count):
        device = draw_device(rng, id, count)
        if id % 3 == 0:
            device["weight"] = 100.0
        builder.add_dev(dict(device, replication_ip=device.get("replication_ip", device["ip"]),
                             replication_port=device.get("replication_port", device["port"])))
    builder.rebalance(seed=rng.random())
    for device in rng.sample([d for d in builder.devs if d and d["id"] % 3], rng.randint(0, 3)):
        builder.remove_dev(device["id"])
    builder.rebalance(seed=rng.random())
    if rng.random() < 0.2:
        builder.prepare_increase_partition_power()
    version = rng.choice([1, 2])
    if version == 2 and rng.random() < 0.3:
        builder.set_dev_id_bytes(4)
    builder.get_ring().save(path, format_version=version)


def make_drawn(rng, path):
    """A table without any balance, of any shape that can be written, in any byte order."""
    part_power = rng.choice([0, 1, 2, 3, 5, 6])
    count = rng.choice([1, 2, 7, 30])
    devices = [draw_device(rng, id, count) if rng.random() < 0.8 else None for id in range(count)]
    ids = [id for id, device in enumerate(devices) if device] or [0]
    if rng.random() < 0.2:
        ids += range(count)  # removed devices too
    ids = rng.sample(ids, rng.randint(1, len(ids)))
    version, bytes, none = rng.choice([(1, 2, 2**16 - 1), (2, 2, 2**16 - 1), (2, 4, 2**32 - 1)])
    if rng.random() < 0.1:
        ids.append(none)
    lengths = [1 << part_power] * rng.randint(0, 6)
    if lengths and rng.random() < 0.5:
        lengths.append(rng.randrange(1 << part_power))
    rows = [array.array("H" if bytes == 2 else "I", rng.choices(ids, k=length)) for length in lengths]
    next_part_power = rng.choice([None, None, part_power, part_power + 1])
    if version == 1:
        write_version_1(rng, path, devices, part_power, rows, next_part_power)
    else:
        RingData(rows, devices, 32 - part_power, next_part_power, 7).save(path, format_version=2)


def write_version_1(rng, path, devices, part_power, rows, next_part_power=None):
    """As the reference would on a machine of either byte order, or of old, which did not say."""
    order = rng.choice(["little", "big", None])
    metadata = {"devs": devices, "part_shift": 32 - part_power, "replica_count": len(rows), "byteorder": order}
    if order is None:
        del metadata["byteorder"]
    if next_part_power is not None or rng.random() < 0.2:
        metadata["next_part_power"] = next_part_power
    if order not in (None, sys.byteorder):
        for row in rows:
            row.byteswap()
    text = json.dumps(metadata, ensure_ascii=rng.random() < 0.5).encode()
    with gzip.open(path, "wb", compresslevel=rng.randint(0, 9)) as file:
        file.write(b"R1NG" + struct.pack("!HI", 1, len(text)) + text)
        for row in rows:
            file.write(row.tobytes())


def make_large(rng, path):
    """So many partitions that hand-offs are looked for in steps, and devices with very few of them."""
    part_power = rng.choice([16, 17, 18])
    count = 40
    devices = [draw_device(rng, id, count) for id in range(count)]
    weights = [rng.choice([1, 1000, 100000]) for _ in devices]
    lengths = [1 << part_power] * 2 + [rng.randrange(1 << part_power)]
    rows = [array.array("H", rng.choices(range(count), weights, k=length)) for length in lengths]
    RingData(rows, devices, 32 - part_power).save(path, format_version=rng.choice([1, 2]))


def make_wide(rng, path):
    """Ids that need four bytes."""
    devices = [None] * 70000
    for id in (3, 65534, 65535, 65536, 69999):
        devices[id] = draw_device(rng, id, 5)
    rows = [array.array("I", rng.choices([3, 65534, 65535, 65536, 69999], k=8)) for _ in range(2)]
    RingData(rows, devices, 29).save(path, format_version=2)


def make_indexed(rng, path):
    """A version 2 ring in whose index one value is another."""
    devices = [draw_device(rng, id, 4) for id in range(4)]
    rows = [array.array("H", rng.choices(range(4), k=8)) for _ in range(3)]
    with RingWriter.open(path) as writer:
        RingData(rows, devices, 29).serialize_v2(writer)
        section = rng.choice(list(writer.index))
        field = rng.choice(list(vars(writer.index[section])))
        value = getattr(writer.index[section], field)
        values = [None, True, -1, 0, 1, 1.5, 10**6, 2**63, 2**70, "", "x", "md5", [], {}]
        if isinstance(value, int):
            values += [value + 1, value - 1, str(value)]
        values += [getattr(other, field) for other in writer.index.values()]
        changed = dict(vars(writer.index[section]), **{field: rng.choice(values)})
        writer.index[section] = type(writer.index[section])(**changed)


KINDS = {kind.__name__[5:]: kind for kind in (make_built, make_drawn, make_large, make_wide, make_indexed)}


def look(path, partitions, limit):
    ring = Ring(path)
    rows = ring._replica2part2dev_id
    count = ring.partition_count if rows else 0
    if partitions is None:
        partitions = list(range(count)) + [count, count + 5, 4294967295]
    return {
        "part_power": ring.part_power,
        "partition_count": count,
        "replica_count": struct.unpack("<Q", struct.pack("<d", ring.replica_count))[0],
        "next_part_power": ring.next_part_power,
        "devices": [device and normal(device) for device in ring.devs],
        "partitions": partitions,
        "primaries": [ids(ring.get_part_nodes, p, None) for p in partitions],
        "handoffs": [ids(ring.get_more_nodes, p, limit) for p in partitions],
    }


def normal(device):
    keys = ("id", "region", "zone", "ip", "port", "device", "replication_ip", "replication_port")
    return {**{key: device.get(key) for key in keys}, "weight": float(device.get("weight", 0)),
            "meta": device.get("meta", "")}


def ids(nodes, partition, limit):
    try:
        return [node["id"] for node in itertools.islice(nodes(partition), limit)]
    except (IndexError, TypeError):
        return None


def answer(question):
    if "make" in question:
        KINDS[question["make"]](random.Random(question["seed"]), question["path"])
        return {}
    try:
        return look(question["look"], question.get("partitions"), question.get("handoffs"))
    except Exception as error:
        return {"error": "%s: %s" % (type(error).__name__, error)}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
