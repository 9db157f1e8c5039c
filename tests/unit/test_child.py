"""A child process answers, and whatever it does instead is contained."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from infra.child import Child, ChildDied, ChildTimeout

ECHO = """
import json, os, signal, sys, threading, time
print('{"ready": true}', flush=True)
for line in sys.stdin:
    word, _, rest = line.strip().partition(" ")
    if word == "hang":
        if rest:
            open(rest, "w").close()
        time.sleep(1000)
    if word == "exit":
        os._exit(int(rest))
    if word == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if word == "twice":
        print("one\\ntwo", flush=True)
    elif word == "pid":
        print(os.getpid(), flush=True)
    elif word == "env":
        print(json.dumps(dict(os.environ)), flush=True)
    elif word == "complain":
        print(rest, file=sys.stderr, flush=True)
        print("done", flush=True)
    else:
        print(line.strip(), flush=True)
"""


def command(code):
    return [sys.executable, "-c", code]


@pytest.fixture
def child():
    with Child(command(ECHO)) as child:
        yield child


def gone(pid, timeout_s=10.0):
    try:
        psutil.Process(pid).wait(timeout_s)
    except psutil.NoSuchProcess:
        return True
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_it_answers_and_stays_warm(child):
    pid = child.call("pid", timeout_s=10)
    assert [child.call(word, timeout_s=10) for word in ("a", "ü", "")] == ["a", "ü", ""]
    assert child.call("pid", timeout_s=10) == pid == str(child.pid)


def test_start_returns_at_once_and_twice_is_one():
    with Child(command("import time; time.sleep(1000)")) as child:
        begin = time.monotonic()
        child.start()
        pid = child.pid
        child.start()
        assert child.pid == pid is not None
        assert time.monotonic() - begin < 1


def test_a_line_larger_than_a_pipe_goes_both_ways(child):
    line = "x" * 3_000_000
    assert child.call(line, timeout_s=30) == line


def test_a_line_with_a_break_is_refused(child):
    with pytest.raises(ValueError, match="line break"):
        child.call("a\nb", timeout_s=10)


@pytest.mark.timeout(60)
def test_a_child_that_hangs_is_killed_and_replaced(child):
    pid = int(child.call("pid", timeout_s=10))
    with pytest.raises(ChildTimeout) as caught:
        child.call("hang", timeout_s=0.2)
    assert caught.value.was_ready
    assert gone(pid)
    assert int(child.call("pid", timeout_s=10)) != pid


@pytest.mark.parametrize(("request_line", "returncode"), [("exit 3", 3), ("exit 0", 0), ("segfault", -signal.SIGSEGV)])
def test_a_child_that_dies_says_how_and_is_replaced(child, request_line, returncode):
    with pytest.raises(ChildDied) as caught:
        child.call(request_line, timeout_s=10)
    assert (caught.value.returncode, caught.value.was_ready) == (returncode, True)
    assert child.pid is None
    assert child.call("again", timeout_s=10) == "again"


def test_a_child_found_dead_is_replaced_silently(child):
    pid = int(child.call("pid", timeout_s=10))
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    assert int(child.call("pid", timeout_s=10)) != pid


def test_a_child_that_dies_while_warming_up_was_not_ready():
    with Child(command("raise SystemExit(4)")) as child:
        for _ in range(2):
            with pytest.raises(ChildDied) as caught:
                child.call("x", timeout_s=10)
            assert not caught.value.was_ready


def test_a_child_that_never_gets_warm_times_out_and_was_not_ready():
    with Child(command("import time; time.sleep(1000)")) as child, pytest.raises(ChildTimeout) as caught:
        child.call("x", timeout_s=0.2)
    assert not caught.value.was_ready


@pytest.mark.parametrize("first", ['{"ready": false}', "[]", "hello", '"ready"'])
def test_a_child_that_does_not_say_that_it_is_ready_is_killed(first):
    code = f"import sys\nprint({first!r}, flush=True)\nsys.stdin.read()"
    with Child(command(code)) as child, pytest.raises(ChildDied, match="ready"):
        child.call("x", timeout_s=10)


def test_an_answer_too_many_never_answers_the_next_call(child):
    assert child.call("twice", timeout_s=10) == "one"
    try:
        answer = child.call("next", timeout_s=10)
    except ChildDied:
        answer = child.call("next", timeout_s=10)
    assert answer == "next"


def test_kill_ends_a_call_under_way(child, tmp_path):
    begun = tmp_path / "begun"

    def kill_once_begun():
        while not begun.exists():
            time.sleep(0.001)
        child.kill()

    killer = threading.Thread(target=kill_once_begun)
    killer.start()
    with pytest.raises(ChildDied) as caught:
        child.call(f"hang {begun}", timeout_s=30)
    killer.join()
    assert caught.value.returncode == -signal.SIGKILL
    assert child.call("again", timeout_s=10) == "again"


def test_calls_from_many_threads_take_turns_and_get_their_own_answers(child):
    answers = {}

    def ask(name):
        answers[name] = [child.call(f"{name} {index}", timeout_s=30) for index in range(50)]

    threads = [threading.Thread(target=ask, args=(f"t{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {f"t{n}": [f"t{n} {index}" for index in range(50)] for n in range(8)}


def test_after_its_calls_a_fresh_process_takes_over():
    with Child(command(ECHO), max_calls=3) as child:
        pids = [child.call("pid", timeout_s=10) for _ in range(7)]
    assert len(set(pids)) == 3
    assert pids[0] == pids[1] == pids[2] != pids[3] == pids[4] == pids[5] != pids[6]


def test_close_is_final():
    child = Child(command(ECHO))
    child.start()
    pid = child.pid
    child.close()
    child.close()
    assert gone(pid)
    assert child.pid is None
    for use in (child.start, lambda: child.call("x", timeout_s=1)):
        with pytest.raises(RuntimeError):
            use()


def test_a_program_that_is_not_there_is_an_os_error():
    with pytest.raises(OSError, match="no-such-program"):
        Child(["/no-such-program"]).call("x", timeout_s=1)


def test_the_environment_and_standard_error_are_what_was_given(tmp_path):
    log = tmp_path / "child.log"
    with Child(command(ECHO), env={"ONLY": "this"}, stderr=log) as child:
        assert '"ONLY": "this"' in child.call("env", timeout_s=10)
        assert "HOME" not in child.call("env", timeout_s=10)
        child.call("complain of something", timeout_s=10)
    assert log.read_text() == "of something\n"


def test_what_the_child_started_is_killed_with_it():
    code = """
import subprocess, sys
print('{"ready": true}', flush=True)
for line in sys.stdin:
    print(subprocess.Popen(["sleep", "1000"], stdin=-3, stdout=-3).pid, flush=True)
"""
    with Child(command(code)) as child:
        grandchild = int(child.call("x", timeout_s=10))
    assert gone(grandchild)


def test_no_descriptor_is_left_open():
    process = psutil.Process()
    with Child(command(ECHO)) as child:
        child.call("warm", timeout_s=10)
    before = process.num_fds()
    for _ in range(5):
        with Child(command(ECHO)) as child:
            with pytest.raises(ChildDied):
                child.call("exit 1", timeout_s=10)
            child.call("x", timeout_s=10)
    assert process.num_fds() == before


def test_a_child_sees_the_end_of_its_input_when_the_parent_is_killed():
    code = f"""
from infra.child import Child
child = Child({command(ECHO)!r})
child.call("x", timeout_s=10)
print(child.pid, flush=True)
import time; time.sleep(1000)
"""
    parent = subprocess.Popen(command(code), stdout=subprocess.PIPE)
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(pid)
