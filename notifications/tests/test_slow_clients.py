import json

import psutil

from notifications.closings import TOO_SLOW
from notifications.tests.order_changes import many_events, token_of
from testsupport.raw_websocket import CLOSE, TEXT, RawClient, close_frame
from testsupport.waiting import wait_until

# Beyond what the network itself holds.
EVENTS, PART = 9_000, 1_000


def is_connected(service, client: RawClient) -> bool:
    sockets = psutil.Process(service.pid).net_connections("tcp")
    return client.port in {socket.raddr.port for socket in sockets if socket.raddr}


def test_a_client_that_stops_reading_is_cut_off_and_the_others_miss_nothing(service, clients, anna, token, chief):
    process = psutil.Process(service.pid)
    desk = clients.subscribe(service.url, token_of(chief))
    with RawClient(service.port, token, receive_buffer=4096) as stalled:
        next(stalled.frames())
        before = process.memory_info().rss
        # In parts, so that whoever reads at all, however slowly, is never far behind.
        for first in range(1, EVENTS, PART):
            many_events(anna, PART, padding=800, first=first)
            numbers = [event["event_id"] for event in desk.events(PART + 1)[1:]]
            assert numbers == [f"bulk-{number}" for number in range(first, first + PART)]
        wait_until(lambda: not is_connected(service, stalled), within_s=10, what="cut off")
        assert process.memory_info().rss - before < 40_000_000
        assert desk.is_alive()


def test_a_slow_client_that_reads_on_learns_why_it_was_cut_off(service, anna, token):
    said = service.said()
    with RawClient(service.port, token, receive_buffer=4096) as slow:
        next(slow.frames())
        many_events(anna, EVENTS, padding=800)
        wait_until(lambda: "client_cut_off" in service.said().removeprefix(said), within_s=10, what="its queue is full")
        frames = list(slow.frames())
    assert {opcode for opcode, _ in frames[:-1]} == {TEXT}
    for _, payload in frames[:-1]:
        json.loads(payload)
    opcode, payload = frames[-1]
    assert (opcode, close_frame(payload)) == (CLOSE, TOO_SLOW)
