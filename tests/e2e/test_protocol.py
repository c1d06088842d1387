"""The messaging protocol, as clients see it: parents, order, statuses, counters, refusals."""

import time

import zmq

from e2e.harness import IS_GOKERNEL, Client, KernelCase, only_gokernel, transcript_line, url


class Requests(KernelCase):
    def check_order(self, result):
        """busy first, idle last, and nothing else says so in between."""
        states = [m["content"]["execution_state"] for m in result.of("status")]
        self.assertEqual(states, ["busy", "idle"], result)
        self.assertEqual(transcript_line(result.messages[0]), "status busy")
        self.assertEqual(transcript_line(result.messages[-1]), "status idle")

    def test_every_request_has_busy_reply_idle(self):
        requests = [
            ("shell", "execute_request", {"code": "1", "silent": False}),
            ("shell", "inspect_request", {"code": "print", "cursor_pos": 5, "detail_level": 0}),
            ("shell", "complete_request", {"code": "pri", "cursor_pos": 3}),
            ("shell", "history_request", {"hist_access_type": "tail", "n": 1, "output": False, "raw": True}),
            ("shell", "is_complete_request", {"code": "1"}),
            ("shell", "comm_info_request", {}),
            ("shell", "kernel_info_request", {}),
            ("control", "kernel_info_request", {}),
        ]
        if IS_GOKERNEL:
            requests += [("control", "usage_request", {}), ("shell", "connect_request", {})]
        for channel, msg_type, content in requests:
            with self.subTest(channel=channel, msg_type=msg_type):
                result = self.client.request(channel, msg_type, content)
                self.check_order(result)
                self.assertEqual(result.reply["msg_type"], msg_type.replace("_request", "_reply"))
                self.assertEqual(result.reply["parent_header"]["msg_id"], result.msg_id)
                if msg_type == "usage_request":  # ipykernel's invention, without a status
                    self.assertGreater(result.content["pid"], 0)
                else:
                    self.assertEqual(result.status, "complete" if msg_type.startswith("is_") else "ok", result)

    def test_execute_in_order(self):
        result = self.ok("import sys\nprint('a')\nprint('b', file=sys.stderr)\n'c'")
        self.check_order(result)
        self.assertEqual(
            [m["msg_type"] for m in result.messages],
            ["status", "execute_input", "stream", "stream", "execute_result", "status"], result,
        )
        self.assertEqual((result.text(), result.text("stderr"), result.data()), ("a\n", "b\n", "'c'"))
        self.assertIn("started", result.reply["metadata"])
        self.assertEqual(result.of("execute_input")[0]["content"]["code"], "import sys\nprint('a')\nprint('b', file=sys.stderr)\n'c'")

    def test_error_is_told_twice(self):
        result = self.client.run("print('before')\n1/0")
        self.check_order(result)
        self.assertEqual(result.status, "error")
        for content in (result.content, result.of("error")[0]["content"]):
            self.assertEqual((content["ename"], content["evalue"]), ("ZeroDivisionError", "division by zero"))
            self.assertIn("ZeroDivisionError", "\n".join(content["traceback"]))
        self.assertEqual(result.text(), "before\n")

    def test_syntax_error(self):
        result = self.client.run("x = = 1")
        self.assertEqual((result.status, result.content["ename"]), ("error", "SyntaxError"))

    def test_counter(self):
        first = self.ok("1").content["execution_count"]
        self.assertEqual(self.client.run("1/0").content["execution_count"], first + 1)
        # The count of the last one (ipykernel) or of the next: what matters is that it does not go up.
        self.assertIn(self.ok("2", store_history=False).content["execution_count"], (first + 1, first + 2))
        self.assertEqual(self.ok("3").content["execution_count"], first + 2)
        self.assertEqual(self.ok("4").of("execute_result")[0]["content"]["execution_count"], first + 3)

    def test_silent(self):
        result = self.ok("silent_x = 5\nsilent_x", silent=True)
        self.assertEqual([m["msg_type"] for m in result.messages], ["status", "status"], result)
        self.assertEqual(self.ok("silent_x").data(), "5")

    def test_user_expressions(self):
        result = self.ok("a = 21", user_expressions={"good": "a * 2", "bad": "nope"})
        good, bad = (result.content["user_expressions"][k] for k in ("good", "bad"))
        self.assertEqual((good["status"], good["data"]["text/plain"]), ("ok", "42"))
        self.assertEqual((bad["status"], bad["ename"]), ("error", "NameError"))
        # They may be all that is asked for.
        result = self.ok("", silent=True, user_expressions={"good": "a"})
        self.assertEqual(result.content["user_expressions"]["good"]["data"]["text/plain"], "21")

    def test_empty_cell(self):
        for code in ("", "\n", "   \n# nothing\n"):
            with self.subTest(code=code):
                self.assertEqual(self.ok(code).outputs, [])

    def test_displays_keep_their_place(self):
        result = self.ok(
            "class T:\n    def __repr__(self): return 'shown'\n"
            "print('one')\nhandle = display(T(), display_id='place')\nprint('two')\n"
            "handle.update(3)\nprint('three')"
        )
        self.assertEqual(
            [m["msg_type"] for m in result.outputs],
            ["stream", "display_data", "stream", "update_display_data", "stream"], result,
        )
        shown, updated = result.outputs[1]["content"], result.outputs[3]["content"]
        self.assertEqual(shown["data"]["text/plain"], "shown")
        self.assertEqual(updated["data"]["text/plain"], "3")
        self.assertEqual(shown["transient"], {"display_id": "place"})
        self.assertEqual(updated["transient"], {"display_id": "place"})
        self.assertIsInstance(shown["metadata"], dict)

    def test_text_is_not_split_in_characters(self):
        result = self.ok("print('\\u20ac\\U0001f600' * 200_000)")
        self.assertEqual(result.text(), "\u20ac\U0001f600" * 200_000 + "\n")

    def test_cursor_positions_are_code_points(self):
        self.ok("word = 'x'")
        code = "s = '\U0001f600\U0001f600'; word.upp"
        reply = self.client.request(
            "shell", "complete_request", {"code": code + " + 'rest'", "cursor_pos": len(code)}
        ).content
        start, end = reply["cursor_start"], reply["cursor_end"]
        self.assertEqual(end, len(code))
        self.assertTrue(any((code[:start] + m).endswith("word.upper") for m in reply["matches"]), reply)
        code = "'\U0001f600'; len"
        reply = self.client.request(
            "shell", "inspect_request", {"code": code, "cursor_pos": len(code), "detail_level": 0}
        ).content
        self.assertTrue(reply["found"], reply)
        self.assertIn("number of items", reply["data"]["text/plain"])

    def test_unknown_request(self):
        for channel in ("shell", "control"):
            with self.subTest(channel=channel):
                msg_id = self.client.send(channel, "frobnicate_request", {"x": 1})
                self.client.finish(msg_id, reply=False)
                self.ok("1")
                self.assertNotIn(msg_id, self.client.replies)

    def test_unknown_fields_are_no_harm(self):
        self.ok("1", surprise={"a": [1]}, metadata={"cellId": "x", "recordTiming": True, "deletedCells": []})
        msg = self.client.session.msg("execute_request", {"code": "2", "silent": False})
        msg["header"]["subshell_id"] = None
        msg["header"]["later"] = 1
        self.client.session.send(self.client.sockets["shell"], msg)
        self.assertEqual(self.client.finish(msg["header"]["msg_id"]).data(), "2")

    @only_gokernel
    def test_replayed_request_runs_once(self):
        self.ok("hits = 0")
        session, socket = self.client.session, self.client.sockets["shell"]
        msg = session.msg("execute_request", {"code": "hits += 1", "silent": False})
        frames = session.serialize(msg)
        socket.send_multipart(frames)
        self.client.finish(msg["header"]["msg_id"])
        socket.send_multipart(frames)
        self.assertEqual(self.ok("hits").data(), "1")

    @only_gokernel
    def test_debugger_is_refused(self):
        info = self.client.request("control", "kernel_info_request").content
        self.assertNotIn("debugger", info.get("supported_features", []))
        reply = self.client.request(
            "control", "debug_request", {"seq": 7, "type": "request", "command": "initialize", "arguments": {}}
        ).content
        self.assertIs(reply["success"], False)
        self.assertEqual((reply["request_seq"], reply["command"]), (7, "initialize"))

    def test_kernel_info(self):
        info = self.client.request("shell", "kernel_info_request").content
        self.assertEqual(info["language_info"]["name"], "python")
        self.assertEqual(info["language_info"]["file_extension"], ".py")
        self.assertTrue(info["banner"])
        if IS_GOKERNEL:
            self.assertEqual(info["protocol_version"], "5.5")


class TwoClients(KernelCase):
    def test_each_sees_the_right_parents(self):
        a, b = self.client, self.kernel.client()
        ra, rb = a.start("print('from a')"), b.start("print('from b')")
        for own, other, mine, theirs in ((a, b, ra, rb), (b, a, rb, ra)):
            own.finish(mine)
            own.finish(theirs, reply=False)
            self.assertNotIn(theirs, own.replies)
            headers = {m["parent_header"]["session"] for m in own.iopub[theirs]}
            self.assertEqual(headers, {other.session.session})
        for client in (a, b):
            for msg_id, text in ((ra, "from a\n"), (rb, "from b\n")):
                self.assertEqual(
                    [m["content"]["text"] for m in client.iopub[msg_id] if m["msg_type"] == "stream"], [text]
                )

    def test_same_identity_again(self):
        """A browser that reconnects has the identity that it had."""
        first = self.client
        again = Client(self.kernel.info, session=first.session.session)
        self.addCleanup(again.close)
        again.ready()
        self.assertEqual(again.run("6 * 7").data(), "42")


class WhileBusy(KernelCase):
    def setUp(self):
        super().setUp()
        self.busy = self.client.start(
            "import time\nprint('running')\nwhile True:\n    time.sleep(0.01)"
        )
        self.client.see(self.busy, "running")
        self.addCleanup(self.end)

    def end(self):
        self.kernel.manager.interrupt_kernel()
        other = self.kernel.client()
        other.run("1", stop_on_error=False)
        other.close()

    def test_kernel_info_on_control(self):
        began = time.monotonic()
        result = self.client.request("control", "kernel_info_request", timeout=5)
        self.assertEqual(result.status, "ok")
        self.assertLess(time.monotonic() - began, 2)
        self.assertNotIn(self.busy, self.client.replies)

    @only_gokernel
    def test_status_stays_busy_for_who_looks(self):
        for channel in ("control", "shell"):
            msg_id = self.client.send(channel, "kernel_info_request")
            self.client.finish(msg_id, timeout=5)

            def last():
                states = [m for c, m in self.client.log if m["msg_type"] == "status"]
                return states[-1]

            self.client.wait(lambda: last()["parent_header"]["msg_id"] == self.busy, "busy again", 5)
            self.assertEqual(last()["content"]["execution_state"], "busy")

    def test_a_new_client_connects(self):
        other = Client(self.kernel.info)
        self.addCleanup(other.close)
        other.send("control", "kernel_info_request")
        other.wait(lambda: [c for c, _ in other.log if c == "control"], "reply on control", 5)

    def test_heartbeat(self):
        socket = zmq.Context.instance().socket(zmq.REQ)
        self.addCleanup(socket.close, 0)
        socket.connect(url(self.kernel.info, "hb"))
        for ping in (b"ping", b"", b"\x00" * 1000):
            socket.send(ping)
            self.assertTrue(socket.poll(5000), "no answer to %r" % ping[:10])
            self.assertEqual(socket.recv(), ping)


class StopOnError(KernelCase):
    FAILS = "import time\nprint('in it')\ntime.sleep(0.5)\n1/0"

    def test_what_is_queued_is_aborted(self):
        first = self.client.start(self.FAILS)
        self.client.see(first, "in it")
        queued = [self.client.start("print('not run')") for _ in range(3)]
        completion = self.client.send("shell", "complete_request", {"code": "prin", "cursor_pos": 4})
        self.assertEqual(self.client.finish(first).status, "error")
        for msg_id in queued:
            result = self.client.finish(msg_id)
            self.assertEqual((result.status, result.outputs), ("aborted", []))
            if IS_GOKERNEL:
                self.assertIsInstance(result.content["execution_count"], int)
        self.assertIn("print", " ".join(self.client.finish(completion).content["matches"]))
        self.assertEqual(self.ok("'after'").data(), "'after'")

    def test_only_if_asked_for(self):
        first = self.client.start(self.FAILS, stop_on_error=False)
        self.client.see(first, "in it")
        second = self.client.start("print('run')")
        self.assertEqual(self.client.finish(first).status, "error")
        self.assertEqual(self.client.finish(second).text(), "run\n")

    @only_gokernel
    def test_other_clients_queue_is_aborted_too(self):
        other = self.kernel.client()
        first = self.client.start(self.FAILS)
        other.see(first, "in it")
        queued = other.start("print('not run')")
        self.assertEqual(other.finish(queued).status, "aborted")
        self.client.finish(first)
        self.assertEqual(self.ok("1", client=other).data(), "1")
