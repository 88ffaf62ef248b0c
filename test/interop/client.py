"""A client that is not ours: Python's grpcio and the nine messages of the wire contract, nothing else.

The messages are written down here from the table in the interface document, independently of the .proto files, as a
file descriptor built by hand; so this file also stands for the clients of the earlier implementation. Each check prints
one line of JSON, {"check": ..., "ok": ..., "detail": ...}, and the last line says how many there were.

usage: /usr/bin/python3 client.py HOST:PORT
"""

import hashlib
import json
import math
import struct
import sys
import traceback

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FIELD = descriptor_pb2.FieldDescriptorProto
TYPES = {
    "string": FIELD.TYPE_STRING,
    "float": FIELD.TYPE_FLOAT,
    "uint32": FIELD.TYPE_UINT32,
    "uint64": FIELD.TYPE_UINT64,
    "int32": FIELD.TYPE_INT32,
    "bool": FIELD.TYPE_BOOL,
    "bytes": FIELD.TYPE_BYTES,
}

# Message -> fields, as the interface has them; `optional` and `repeated` in front, the number behind.
MESSAGES = {
    "LearnConceptRequest": [
        "string concept_id 1",
        "string content 2",
        "repeated float embedding 3",
        "optional float strength 4",
        "optional float confidence 5",
    ],
    "LearnConceptResponse": ["uint64 sequence 1"],
    "QueryConceptRequest": ["string concept_id 1"],
    "QueryConceptResponse": [
        "bool found 1",
        "string concept_id 2",
        "string content 3",
        "float strength 4",
        "float confidence 5",
    ],
    "LearnAssociationRequest": [
        "string source_id 1",
        "string target_id 2",
        "uint32 assoc_type 3",
        "optional float confidence 4",
    ],
    "LearnAssociationResponse": ["uint64 sequence 1"],
    "GetNeighborsRequest": ["string concept_id 1"],
    "GetNeighborsResponse": ["repeated string neighbor_ids 1"],
    "FindPathRequest": ["string start_id 1", "string end_id 2", "uint32 max_depth 3"],
    "FindPathResponse": ["bool found 1", "repeated string path 2"],
    "VectorSearchRequest": ["repeated float query_vector 1", "uint32 k 2", "uint32 ef_search 3"],
    "VectorMatch": ["string concept_id 1", "float similarity 2"],
    "VectorSearchResponse": ["repeated VectorMatch results 1"],
    "StatsRequest": [],
    "StatsResponse": [
        "uint64 concepts 1",
        "uint64 edges 2",
        "uint64 written 3",
        "uint64 dropped 4",
        "uint64 pending 5",
        "uint64 reconciliations 6",
        "uint64 uptime_seconds 7",
    ],
    "FlushRequest": [],
    "FlushResponse": ["bool success 1"],
    "HealthCheckRequest": [],
    "HealthCheckResponse": ["bool healthy 1", "string status 2", "uint64 uptime_seconds 3"],
}

# google.rpc, in a package of our own so that nothing installed is asked for it.
STATUS_MESSAGES = {
    "Detail": ["string type_url 1", "bytes value 2"],
    "Status": ["int32 code 1", "string message 2", "repeated Detail details 3"],
    "FieldViolation": ["string field 1", "string description 2"],
    "BadRequest": ["repeated FieldViolation field_violations 1"],
}

METHODS = {
    "LearnConcept": ("LearnConceptRequest", "LearnConceptResponse"),
    "QueryConcept": ("QueryConceptRequest", "QueryConceptResponse"),
    "LearnAssociation": ("LearnAssociationRequest", "LearnAssociationResponse"),
    "GetNeighbors": ("GetNeighborsRequest", "GetNeighborsResponse"),
    "FindPath": ("FindPathRequest", "FindPathResponse"),
    "VectorSearch": ("VectorSearchRequest", "VectorSearchResponse"),
    "GetStats": ("StatsRequest", "StatsResponse"),
    "Flush": ("FlushRequest", "FlushResponse"),
    "HealthCheck": ("HealthCheckRequest", "HealthCheckResponse"),
}


def build(file_name, package, messages):
    file = descriptor_pb2.FileDescriptorProto(name=file_name, package=package, syntax="proto3")
    for message_name, fields in messages.items():
        message = file.message_type.add(name=message_name)
        for text in fields:
            words = text.split()
            label = words.pop(0) if words[0] in ("optional", "repeated") else ""
            kind, name, number = words
            field = message.field.add(name=name, number=int(number))
            field.label = FIELD.LABEL_REPEATED if label == "repeated" else FIELD.LABEL_OPTIONAL
            if kind in TYPES:
                field.type = TYPES[kind]
            else:
                field.type = FIELD.TYPE_MESSAGE
                field.type_name = ".%s.%s" % (package, kind)
            if label == "optional":
                field.proto3_optional = True
                field.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name="_" + name)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    # GetMessageClass came with protobuf 4.22; Debian's 3.21 has the factory.
    get = getattr(message_factory, "GetMessageClass", None)
    if get is None:
        get = message_factory.MessageFactory(pool).GetPrototype
    return {
        name: get(pool.FindMessageTypeByName("%s.%s" % (package, name))) for name in messages
    }


M = build("contract.proto", "sutra.storage", MESSAGES)
S = build("status.proto", "interop.rpc", STATUS_MESSAGES)

checks = 0
failures = 0


def check(name, ok, detail=None):
    global checks, failures
    checks += 1
    if not ok:
        failures += 1
    print(json.dumps({"check": name, "ok": bool(ok), "detail": repr(detail)}), flush=True)


def equal(name, got, expected):
    check(name, got == expected, {"got": got, "expected": expected})


class Stub:
    def __init__(self, channel):
        self.channel = channel

    def call(self, method, **fields):
        request, response = METHODS[method]
        stub = self.channel.unary_unary(
            "/sutra.storage.StorageService/" + method,
            request_serializer=M[request].SerializeToString,
            response_deserializer=M[response].FromString,
        )
        return stub(M[request](**fields), timeout=30)

    def raw(self, method, payload):
        stub = self.channel.unary_unary("/sutra.storage.StorageService/" + method)
        return stub(payload, timeout=30)


def violations(error):
    """The field violations of a grpc-status-details-bin trailer, decoded with our own descriptors."""
    for key, value in error.trailing_metadata():
        if key != "grpc-status-details-bin":
            continue
        status = S["Status"].FromString(value)
        fields = []
        for detail in status.details:
            if detail.type_url == "type.googleapis.com/google.rpc.BadRequest":
                bad_request = S["BadRequest"].FromString(detail.value)
                fields += [v.field for v in bad_request.field_violations]
        return status.code, status.message, fields
    return None


def refused(name, run, code, fields=None, contains=None):
    """The call fails with this status, naming exactly these fields; contains: words of its message."""
    try:
        answer = run()
    except grpc.RpcError as error:
        got = [error.code().name]
        expected = [code.name]
        if fields is not None:
            details = violations(error)
            got.append(None if details is None else details[2])
            expected.append(fields)
            if details is not None:
                got += [details[0], details[1]]
                expected += [code.value[0], error.details()]
        if contains is not None:
            got.append(contains in error.details())
            expected.append(True)
        equal(name, got, expected)
        return
    check(name, False, "answered %r" % (answer,))


def f32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def concepts(s):
    first = s.call("LearnConcept", concept_id="cat", content="a small feline").sequence
    check("a sequence is given", first >= 1, first)
    equal("the next write takes the next", s.call(
        "LearnConcept", concept_id="dog", content="barks", strength=0.5, confidence=0.25
    ).sequence, first + 1)

    cat = s.call("QueryConcept", concept_id="cat")
    equal("absent strength and confidence are 1", (cat.strength, cat.confidence), (1.0, 1.0))
    equal("a concept reads back", (cat.found, cat.concept_id, cat.content), (True, "cat", "a small feline"))
    dog = s.call("QueryConcept", concept_id="dog")
    equal("explicit numbers are kept", (dog.strength, dog.confidence), (0.5, 0.25))

    s.call("LearnConcept", concept_id="zero", content="", strength=0.0, confidence=0.0)
    zero = s.call("QueryConcept", concept_id="zero")
    equal("an explicit 0 is kept", (zero.found, zero.strength, zero.confidence), (True, 0.0, 0.0))
    s.call("LearnConcept", concept_id="tenth", content="", strength=0.1, confidence=0.9)
    tenth = s.call("QueryConcept", concept_id="tenth")
    equal("numbers are float32", (tenth.strength, tenth.confidence), (f32(0.1), f32(0.9)))

    unknown = s.call("QueryConcept", concept_id="nobody")
    equal("an unknown id is found = false", (unknown.found, unknown.content), (False, ""))

    again = s.call("LearnConcept", concept_id="cat", content="purrs").sequence
    equal("learning again updates", s.call("QueryConcept", concept_id="cat").content, "purrs")
    equal("and takes a sequence", again, first + 4)

    name = "Ünïcödé 🐈 日本"
    s.call("LearnConcept", concept_id=name, content=name * 3)
    back = s.call("QueryConcept", concept_id=name)
    equal("unicode ids and content", (back.concept_id, back.content), (name, name * 3))
    key = hashlib.md5(name.encode()).hexdigest()
    equal("a name is found by its key", s.call("QueryConcept", concept_id=key).concept_id, name)
    s.call("LearnConcept", concept_id="ABCDEF0123456789", content="half a key")
    equal("16 hex digits come back in lower case",
          s.call("QueryConcept", concept_id="abcdef01234567890000000000000000").concept_id,
          "abcdef0123456789")

    longest = "i" * 512
    s.call("LearnConcept", concept_id=longest, content="")
    equal("512 bytes of id", s.call("QueryConcept", concept_id=longest).concept_id, longest)

    content = "c" * (1024 * 1024)
    s.call("LearnConcept", concept_id="large", content=content)
    equal("1 MiB of content", s.call("QueryConcept", concept_id="large").content == content, True)


def refusals(s):
    bad = grpc.StatusCode.INVALID_ARGUMENT

    def learn(**fields):
        return lambda: s.call("LearnConcept", **dict(dict(concept_id="x", content=""), **fields))

    before = s.call("GetStats")
    refused("an empty id", learn(concept_id=""), bad, ["concept_id"])
    refused("a long id", learn(concept_id="i" * 513), bad, ["concept_id"])
    refused("long content", learn(content="c" * (1024 * 1024 + 1)), bad, ["content"])
    refused("NaN strength", learn(strength=math.nan), bad, ["strength"])
    refused("infinite strength", learn(strength=math.inf), bad, ["strength"])
    refused("negative strength", learn(strength=-1), bad, ["strength"])
    refused("confidence above 1", learn(confidence=1.5), bad, ["confidence"])
    refused("NaN in an embedding", learn(embedding=[1, math.nan]), bad, ["embedding"])
    refused("an embedding of zero norm", learn(embedding=[0, 0]), bad, ["embedding"])
    refused("an embedding of 4,097", learn(embedding=[1] * 4097), bad, ["embedding"])
    refused("all fields at once", learn(concept_id="", strength=-1, confidence=-1), bad,
            ["concept_id", "strength", "confidence"])
    refused("empty ids of an association", lambda: s.call("LearnAssociation"), bad,
            ["source_id", "target_id"])
    refused("a type of 65,536", lambda: s.call(
        "LearnAssociation", source_id="cat", target_id="dog", assoc_type=65536), bad, ["assoc_type"])
    refused("NaN confidence", lambda: s.call(
        "LearnAssociation", source_id="cat", target_id="dog", confidence=math.nan), bad, ["confidence"])
    refused("a query without id", lambda: s.call("QueryConcept"), bad, ["concept_id"])
    refused("neighbours without id", lambda: s.call("GetNeighbors"), bad, ["concept_id"])
    refused("a path without ends", lambda: s.call("FindPath"), bad, ["start_id", "end_id"])
    refused("a depth of 65", lambda: s.call(
        "FindPath", start_id="cat", end_id="dog", max_depth=65), bad, ["max_depth"])
    refused("a search without vector", lambda: s.call("VectorSearch"), bad, ["query_vector"])
    refused("k of 10,001", lambda: s.call("VectorSearch", query_vector=[1, 1], k=10001), bad, ["k"])
    refused("an unknown endpoint names the id", lambda: s.call(
        "LearnAssociation", source_id="cat", target_id="ghost 👻"),
        grpc.StatusCode.NOT_FOUND, contains="ghost 👻")
    refused("an id that is not UTF-8", lambda: s.raw("QueryConcept", b"\x0a\x02\xff\xfe"), bad,
            ["concept_id"])
    refused("garbage", lambda: s.raw("LearnConcept", b"\xff" * 40), bad)
    refused("a cut message", lambda: s.raw("LearnConcept", b"\x0a\x7fcut"), bad, ["concept_id"])
    refused("a wrong wire type", lambda: s.raw("LearnConcept", b"\x08\x01"), bad, ["concept_id"])
    refused("a message above 16 MiB", lambda: s.raw(
        "LearnConcept", b"\x0a\x01x\x12\x80\x80\x80\x08" + b"c" * (16 * 1024 * 1024)),
        grpc.StatusCode.RESOURCE_EXHAUSTED)
    refused("an unknown method", lambda: s.raw("NoSuchMethod", b""), grpc.StatusCode.UNIMPLEMENTED)
    after = s.call("GetStats")
    equal("nothing of that changed anything",
          (after.concepts, after.edges, after.written), (before.concepts, before.edges, before.written))


def graph(s):
    for i in range(9):
        s.call("LearnConcept", concept_id="n%d" % i, content="")
    for i in range(8):
        s.call("LearnAssociation", source_id="n%d" % i, target_id="n%d" % (i + 1))

    def path(start, end, depth=0):
        answer = s.call("FindPath", start_id=start, end_id=end, max_depth=depth)
        return (answer.found, list(answer.path))

    def chain(start, end):
        step = 1 if end >= start else -1
        return (True, ["n%d" % i for i in range(start, end + step, step)])

    equal("a path", path("n0", "n3"), chain(0, 3))
    equal("a path goes both ways", path("n3", "n0"), chain(3, 0))
    equal("6 hops by default", path("n0", "n6"), chain(0, 6))
    equal("not 7", path("n0", "n7"), (False, []))
    equal("8 when asked", path("n0", "n8", 8), chain(0, 8))
    equal("64 are allowed", path("n0", "n8", 64), chain(0, 8))
    equal("from itself to itself", path("n5", "n5"), (True, ["n5"]))
    equal("unknown ids have no path", path("n0", "nobody"), (False, []))
    s.call("LearnAssociation", source_id="n8", target_id="n1", assoc_type=7)
    equal("the shortest path", path("n0", "n8"), (True, ["n0", "n1", "n8"]))

    def neighbors(concept):
        return list(s.call("GetNeighbors", concept_id=concept).neighbor_ids)

    edges = s.call("GetStats").edges
    s.call("LearnConcept", concept_id="hub", content="")
    for target, kind, confidence in [
        ("n1", 0, 0.5), ("n2", 1, 0.25), ("n2", 2, 0.75), ("n3", 65535, 0.0), ("hub", 4, 0.6)
    ]:
        s.call("LearnAssociation", source_id="hub", target_id=target, assoc_type=kind, confidence=confidence)
    equal("neighbours, distinct, strongest first", neighbors("hub"), ["n2", "hub", "n1", "n3"])
    equal("neighbours of the other end", "hub" in neighbors("n3"), True)
    equal("edges count distinct associations", s.call("GetStats").edges, edges + 5)
    s.call("LearnAssociation", source_id="hub", target_id="n3", assoc_type=65535)
    equal("learning again updates; absent confidence is 1", neighbors("hub"), ["n3", "n2", "hub", "n1"])
    equal("and adds none", s.call("GetStats").edges, edges + 5)
    equal("an unknown id has no neighbours", neighbors("nobody"), [])


def vectors(s):
    s.call("LearnConcept", concept_id="east", content="", embedding=[1, 0, 0])
    s.call("LearnConcept", concept_id="north", content="", embedding=[0, 5, 0])
    s.call("LearnConcept", concept_id="north-east", content="", embedding=[2, 2, 0])

    def search(vector, **more):
        results = s.call("VectorSearch", query_vector=vector, **more).results
        return [(m.concept_id, round(m.similarity, 4)) for m in results]

    equal("a search, best first", search([0.001, 0, 0]),
          [("east", 1.0), ("north-east", 0.7071), ("north", 0.0)])
    equal("k", search([0, 1, 0], k=1, ef_search=100), [("north", 1.0)])
    # The same two numbers once packed and twice not, after one another.
    mixed = struct.pack("<Bf", 0x1D, 0.0) + b"\x1a\x04" + struct.pack("<f", 0.0) + struct.pack("<Bf", 0x1D, 3.0)
    s.raw("LearnConcept", b"\x0a\x02up" + mixed)
    equal("packed and unpacked floats", search([0, 0, 1], k=1), [("up", 1.0)])
    refused("another dimension to learn", lambda: s.call(
        "LearnConcept", concept_id="flat", content="", embedding=[1, 2]),
        grpc.StatusCode.INVALID_ARGUMENT, ["embedding"])
    refused("another dimension to search", lambda: s.call("VectorSearch", query_vector=[1, 2]),
            grpc.StatusCode.INVALID_ARGUMENT, ["query_vector"])
    equal("which learned nothing", s.call("QueryConcept", concept_id="flat").found, False)
    s.call("LearnConcept", concept_id="east", content="learned again, without embedding")
    equal("learning again keeps the embedding", search([1, 0, 0], k=1), [("east", 1.0)])


def service(s):
    health = s.call("HealthCheck")
    equal("health", (health.healthy, health.status), (True, "ok"))
    equal("flush", s.call("Flush").success, True)
    equal("flush again", s.call("Flush").success, True)
    stats = s.call("GetStats")
    check("stats count", stats.concepts > 20 and stats.written > stats.concepts, str(stats))
    equal("nothing dropped, nothing pending", (stats.dropped, stats.pending), (0, 0))
    equal("reads are the same after a flush", s.call("QueryConcept", concept_id="cat").content, "purrs")


def concurrent(s):
    request, response = METHODS["LearnConcept"]
    stub = s.channel.unary_unary(
        "/sutra.storage.StorageService/LearnConcept",
        request_serializer=M[request].SerializeToString,
        response_deserializer=M[response].FromString,
    )
    calls = [stub.future(M[request](concept_id="c%d" % i, content="c"), timeout=30) for i in range(500)]
    sequences = sorted(call.result().sequence for call in calls)
    equal("500 writes at once take 500 sequences in a row",
          sequences, list(range(sequences[0], sequences[0] + 500)))


def main():
    channel = grpc.insecure_channel(sys.argv[1], options=[
        # This client may send more than the server takes: that is one of the checks.
        ("grpc.max_send_message_length", -1),
        ("grpc.enable_http_proxy", 0),
    ])
    stub = Stub(channel)
    for part in (concepts, refusals, graph, vectors, service, concurrent):
        try:
            part(stub)
        except Exception:  # A part that breaks is a failed check, and the others still run.
            check(part.__name__ + " ran to its end", False, traceback.format_exc())
    channel.close()
    print(json.dumps({"checks": checks, "failures": failures}), flush=True)


if __name__ == "__main__":
    main()
