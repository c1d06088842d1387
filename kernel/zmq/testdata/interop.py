"""Clients of libzmq and jupyter_client that check a kernel's end in Go.

Usage: interop.py CHECK CONNECTION_FILE. Ends with status 0 if all is well.
"""

import json
import sys

import zmq
import zmq.utils.monitor
from jupyter_client import BlockingKernelClient
from jupyter_client.session import Session

PATIENCE = 60

with open(sys.argv[2]) as f:
    info = json.load(f)
session = Session(key=info["key"].encode(), signature_scheme=info["signature_scheme"])


def connect(typ, channel, **options):
    s = zmq.Context.instance().socket(typ)
    for name, value in options.items():
        s.setsockopt(getattr(zmq, name), value)
    s.linger = 0
    if typ == zmq.SUB:
        s.subscribe(b"")
    s.connect("%s://%s%s%d" % (info["transport"], info["ip"], "-" if info["transport"] == "ipc" else ":", info[channel + "_port"]))
    return s


def receive(s):
    assert s.poll(PATIENCE * 1000), "nothing came"
    identities, frames = session.feed_identities(s.recv_multipart())
    return identities, session.deserialize(frames)


def request(s, **content):
    return session.send(s, "execute_request", content)["header"]["msg_id"]


def blocking_client():
    client = BlockingKernelClient(connection_file=sys.argv[2])
    client.load_connection_file()
    client.start_channels()
    client.wait_for_ready(timeout=PATIENCE)
    for _ in range(20):
        reply = client.execute("1", reply=True, timeout=PATIENCE)
        assert reply["content"]["status"] == "ok", reply
        states = []
        while len(states) < 2:
            m = client.get_iopub_msg(timeout=PATIENCE)
            if m["parent_header"].get("msg_id") == reply["parent_header"]["msg_id"]:
                states.append(m["content"]["execution_state"])
        assert states == ["busy", "idle"], states
    assert client.hb_channel.is_beating()
    client.stop_channels()


def welcome():
    identities, m = receive(connect(zmq.SUB, "iopub"))
    assert m["msg_type"] == "iopub_welcome", m
    assert m["content"] == {"subscription": ""}, m
    assert m["parent_header"] == {} and identities == [b""], (m, identities)


def heartbeats():
    options = dict(HEARTBEAT_IVL=50, HEARTBEAT_TIMEOUT=500, HEARTBEAT_TTL=1000)
    sub = connect(zmq.SUB, "iopub", **options)
    dealer = connect(zmq.DEALER, "shell", IDENTITY=b"beating", **options)
    watches = [s.get_monitor_socket(zmq.EVENT_DISCONNECTED) for s in (sub, dealer)]
    receive(sub)
    for _ in range(2):  # with 1.5 s in between in which nothing but heartbeats is sent
        for w in watches:
            assert not w.poll(750), zmq.utils.monitor.recv_monitor_message(w)
        mine = request(dealer, code="1")
        assert receive(dealer)[1]["parent_header"]["msg_id"] == mine
        assert receive(sub)[1]["content"] == {"execution_state": "busy"}
        assert receive(sub)[1]["content"] == {"execution_state": "idle"}


def large():
    s = connect(zmq.DEALER, "shell", IDENTITY=b"large")
    mine = request(s, code="x" * 100_000_000)
    _, m = receive(s)
    assert m["parent_header"]["msg_id"] == mine
    data = bytes(range(256)) * 400_000
    session.send(s, "comm_msg", {"echo": True}, buffers=[data, b"", b"end"])
    _, m = receive(s)
    assert [bytes(b) for b in m["buffers"]] == [data, b"", b"end"]


def many():
    clients = [connect(zmq.DEALER, "shell", IDENTITY=b"client-%d" % i) for i in range(50)]
    sub = connect(zmq.SUB, "iopub", RCVHWM=0)
    receive(sub)
    sent = [[request(s, code=str(i)) for _ in range(20)] for i, s in enumerate(clients)]
    for s, ids in zip(clients, sent):
        for mine in ids:
            assert receive(s)[1]["parent_header"]["msg_id"] == mine
    parents = [receive(sub)[1]["parent_header"]["msg_id"] for _ in range(2 * 50 * 20)]
    assert sorted(parents) == sorted(2 * [m for ids in sent for m in ids])


def takeover():
    for _ in range(5):  # each leaves its predecessor connected
        s = connect(zmq.DEALER, "shell", IDENTITY=b"same")
        mine = request(s, code="1")
        assert receive(s)[1]["parent_header"]["msg_id"] == mine


def close():
    s = connect(zmq.SUB, "iopub", RCVHWM=0)
    assert receive(s)[1]["msg_type"] == "iopub_welcome"
    for i in range(3000):
        m = receive(s)[1]
        assert m["content"]["text"] == str(i), (i, m)


{f.__name__: f for f in (blocking_client, welcome, heartbeats, large, many, takeover, close)}[sys.argv[1]]()
