# SPDX-License-Identifier: BSD-3-Clause
"""A mount with kernel views, in a guest with the module: programs that know nothing of them map
files of /dev/dax0.0 (tests/vm/viewed.c, written.c, tests/daxmap/program.c, functional tests).
DAXFUSE_VM_KILLS=50 has the daemon die so often.

After each test the kernel's log is read: a line that was not expected fails it."""

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

import guest as vm
import load
from test_daxmap import FILE
from test_views import MODULE, SLOW

TESTS = Path(__file__).resolve().parent
DEVICE = "/dev/dax0.0"
PROGRAMS = ("daxfuse", "mkfs.daxfuse", "fsck.daxfuse")
SCENARIOS = [(program, name) for program in ("viewed", "written")
             for name in re.findall(r'{ "(\w+)", \1 }', (TESTS / f"{program}.c").read_text())]
# Of those that are not about the library. MADV_REMOVE, which some use, a view does not have.
PROGRAM = ("simple", "end_of_file", "dies_of_sigbus", "protection", "holes", "forks", "remaps",
           "closes_all", "system_calls", "threads", "private_mapping")
FUNCTIONAL = {
    "test_mmap.py": "dax",
    "test_files.py": "dax and (growing or overwrites or append)",
    "test_sparse.py": "dax and (scattered or backwards)",
    "test_unlinked.py": "test",
    "test_times.py": "access_time and relatime",
    "test_programs.py": "dax and (git or gcc)",
}
# A file with memory and a hole is mapped, and used again when something has happened.
MAPPED = """
import errno, mmap, os, signal, sys
fd = os.open("/mnt/file", os.O_RDWR | os.O_CREAT)
os.write(fd, b"l" * (8 << 20))
os.ftruncate(fd, 32 << 20)
mapped = mmap.mmap(fd, 32 << 20)
mapped[0] = 109
print("mapped", flush=True)
sys.stdin.readline()
"""
HOLD = MAPPED + "mapped[0] = 110\n"
# Its mount is gone: neither memory that was mapped is there, nor a hole.
LEFT = MAPPED + """
for offset in 0, 16 << 20:
    try:
        os.pwrite(fd, b"n", offset)
        sys.exit("it was written")
    except OSError as error:
        assert error.errno in (errno.EIO, errno.ENOTCONN), error
    child = os.fork()
    if not child:
        mapped[offset] = 110
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGBUS
print("told", flush=True)
sys.stdin.readline()
"""
TWO = """
import mmap, os, sys
os.setuid(int(sys.argv[1]))
try:
    fd = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT, 0o600)
except PermissionError:
    sys.exit(3)
os.ftruncate(fd, 4 << 20)
mapped = mmap.mmap(fd, 4 << 20)
mapped[5] = int(sys.argv[1]) % 256
assert mapped[:5] == bytes(5) and mapped[6:4096] == bytes(4090)
for path in ("/dev/dax0.0", "/dev/daxview"):
    try:
        os.open(path, os.O_RDWR)
        sys.exit(4)
    except PermissionError:
        pass
"""


# A small file is mapped through a view, and open for reading only, which would go through the page
# cache: the library maps the memory all the same.
BESIDE = """
import ctypes, os, time
lib = ctypes.CDLL("/daxfuse/lib/libdaxmap.so.0")
MAP = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_size_t]
def map_by(function, fd):
    function.restype, function.argtypes = ctypes.c_ssize_t, MAP
    at = function(None, 8192, 3, 1, fd, 0)
    assert at > 0
    return at, (ctypes.c_char * 8192).from_address(at)
with open("/mnt/small", "wb") as file:
    file.write(b"s" * 8192)
fd = os.open("/mnt/small", os.O_RDWR)
_, view = map_by(ctypes.CDLL(None).mmap, fd)
os.close(fd)
time.sleep(1)  # its release comes later
reader = os.open("/mnt/small", os.O_RDONLY)
assert os.pread(reader, 4, 0) == b"ssss"
fd = os.open("/mnt/small", os.O_RDWR)
at, memory = map_by(lib.dxm_map, fd)
assert memory[0] == b"s" == view[0]
lib.dxm_query.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t]
ranges = (ctypes.c_uint64 * 25)()
assert lib.dxm_query(at, 8192, ranges, 5) > 0
assert ranges[3] & 0xffffffff >= 3, "it is the kernel's mapping"
memory[0] = b"t"
assert view[0] == b"t" and os.pread(reader, 1, 0) == b"t"
view[1] = b"u"
assert memory[1] == b"u"
"""


# What a watcher is told: of stores through a mapping, writes and appends, again and again; of loads
# and reads nothing.
WATCHED = """
import json, mmap, os, signal, subprocess
def make(name):
    fd = os.open(f"/mnt/{name}", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"w" * (8 << 20))
    return mmap.mmap(fd, 8 << 20), os.open(f"/mnt/{name}", os.O_RDONLY)
def next_event():
    line = watcher.stdout.readline()
    assert line, "the watcher has ended"
    return json.loads(line)
stored, quiet = make("stored"), make("quiet")
watcher = subprocess.Popen(["daxfuse", "watch", "/mnt"], stdout=subprocess.PIPE, text=True)
assert next_event()["what"] == ["all"]
seen = []
for at in 3 << 20, (3 << 20) + 4096, 7 << 20:
    assert quiet[0][at] == ord("w") == os.pread(quiet[1], 1, at + 1)[0]
    stored[0][at] = at & 127 | 1
    while not seen or "data" not in seen[-1]["what"] or seen[-1]["path"] != "/mnt/stored":
        seen.append(next_event())
    assert seen[-1]["offset"] <= at < seen[-1]["offset"] + seen[-1]["length"] <= 8 << 20, seen
    assert os.pread(stored[1], 1, at)[0] == at & 127 | 1
    seen.append({"what": []})
written = os.open("/mnt/stored", os.O_RDWR)
for turn, at in enumerate((0, 4096, 8 << 20, (8 << 20) + 5, (8 << 20) + 10)):
    assert os.pwrite(written, b"write", at) == 5
    while not seen or "data" not in seen[-1]["what"] or seen[-1]["path"] != "/mnt/stored":
        seen.append(next_event())
    length = seen[-1]["length"] or 1 << 60  # to the end of the file, wherever that is
    assert seen[-1]["offset"] <= at < seen[-1]["offset"] + length, seen
    assert ("size" in seen[-1]["what"]) == (turn > 1), seen
    assert os.pread(stored[1], 5, at) == b"write" and os.fstat(stored[1]).st_size >= at + 5
    seen.append({"what": []})
watcher.send_signal(signal.SIGTERM)
seen += map(json.loads, watcher.stdout.read().splitlines())
assert not [event for event in seen if event.get("path") == "/mnt/quiet"], seen
"""


# Two programs that store through a mapping, each time on another page, make it durable, and tell of
# it; one that appends, and tells of it; and another one beside, whose files come and go. And what must
# be there when so much was told of: that, and perhaps some more that had not been heard of. (The port
# is one program's: they share it.)
STORES = """
import itertools, mmap, os, struct, sys
PAGES, LAG = 4096, 16
def page_of(number):
    return number * 7919 % PAGES
def store(name, acks):
    fd = os.open(f"/mnt/{name}", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, PAGES * 4096)
    mapped = mmap.mmap(fd, PAGES * 4096)
    for number in itertools.count(1):
        struct.pack_into("QQ", mapped, page_of(number) * 4096 + 8, number, ~number & (1 << 64) - 1)
        mapped.flush(page_of(number) * 4096, 4096)
        os.write(acks, b"%s %d\\n" % (name.encode(), number))
def record_of(number):
    return struct.pack("QQ", number, ~number & (1 << 64) - 1) + b"%085d" % number
def append(name, acks):
    with open(f"/mnt/{name}", "wb") as file:
        file.write(bytes(2 << 20))
    fd = os.open(f"/mnt/{name}", os.O_WRONLY | os.O_APPEND)
    for number in itertools.count(1):
        assert os.write(fd, record_of(number)) == 101
        os.write(acks, b"%s %d\\n" % (name.encode(), number))
def check_log(name, told):
    data = open(f"/mnt/{name}", "rb").read()[2 << 20:]
    count = len(data) // 101
    if not told <= count <= told + LAG or data[:count * 101] != b"".join(map(record_of, range(1, count + 1))):
        sys.exit(f"{name}: {len(data)} bytes are not {told} records")
    if data[count * 101:] != record_of(count + 1)[:len(data) - count * 101]:
        sys.exit(f"{name}: {data[count * 101:]}, of record {count + 1}")
    with open(f"/mnt/{name}", "r+b") as file:
        file.truncate((2 << 20) + len(data) + 5000)
        file.seek((2 << 20) + len(data))
        assert file.read() == bytes(5000), "behind the end"
def come_and_go():
    for number in itertools.count():
        fd = os.open(f"/mnt/file{number % 8}", os.O_RDWR | os.O_CREAT)
        os.write(fd, b"w" * 50000 * (number % 90))
        os.ftruncate(fd, 4 << 20)
        mapped = mmap.mmap(fd, 4 << 20)
        mapped[number * 4096 % (3 << 20)] = 1
        os.rename(f"/mnt/file{number % 8}", f"/mnt/file{number % 5}")
        os.ftruncate(fd, number)
        os.close(fd)
def check(name, told):
    last, data = {}, open(f"/mnt/{name}", "rb").read()
    for number in range(1, told + 1):
        last[page_of(number)] = number
    for page in range(PAGES):
        found, inverse = struct.unpack_from("QQ", data, page * 4096 + 8)
        rest = data[page * 4096:page * 4096 + 8] + data[page * 4096 + 24:page * 4096 + 4096]
        good = found == last.get(page, 0) or told < found <= told + LAG and page_of(found) == page
        if not good or any(rest) or found and inverse != ~found & (1 << 64) - 1:
            sys.exit(f"{name}, page {page}: {found}, not {last.get(page, 0)}; {told} were told of")
if sys.argv[1:] and sys.argv[1] == "log":
    check_log("log", int(sys.argv[2]))
elif sys.argv[1:]:
    check(sys.argv[1], int(sys.argv[2]))
else:
    acks = os.open("/run/port/acks", os.O_WRONLY | os.O_APPEND)
    for name in "one", "two", "log":
        if os.fork() == 0:
            (append if name == "log" else store)(name, acks)
    come_and_go()
"""


@pytest.fixture(scope="module")
def payload_of_views(modules, bin_dir, tmp_path_factory):
    """What goes into a guest: the module, the daemon, and programs."""
    folder = tmp_path_factory.mktemp("mounts")
    for name, source in (("viewed", "vm/viewed.c"), ("written", "vm/written.c"),
                         ("daxmap-program", "daxmap/program.c")):
        subprocess.run(["cc", "-O1", "-pthread", "-o", folder / name, TESTS.parent / source],
                       check=True)
    subprocess.run(["cc", "-O1", "-static", "-no-pie", "-nostdlib", "-fno-stack-protector",
                    "-fno-builtin", "-o", folder / "raw", TESTS / "raw.c"], check=True)
    for name, text in (("hold.py", HOLD), ("left.py", LEFT), ("two.py", TWO), ("beside.py", BESIDE),
                       ("watched.py", WATCHED), ("stores.py", STORES)):
        (folder / name).write_text(text)
    vm.make_payload(folder / "payload.tar",
                    [*(bin_dir / name for name in PROGRAMS), folder / "viewed", folder / "written",
                     folder / "daxmap-program", folder / "raw"],
                    [(TESTS.parent, "/daxfuse/tests"), (folder / "hold.py", "/daxfuse/hold.py"),
                     (folder / "left.py", "/daxfuse/left.py"),
                     (folder / "two.py", "/daxfuse/two.py"),
                     (folder / "beside.py", "/daxfuse/beside.py"),
                     (folder / "watched.py", "/daxfuse/watched.py"),
                     (folder / "stores.py", "/daxfuse/stores.py"),
                     (bin_dir.parent / "lib/libdaxmap.so.0", "/daxfuse/lib/libdaxmap.so.0"),
                     (modules / vm.kernel_version() / "daxview.ko", MODULE)])
    return folder / "payload.tar"


@pytest.fixture(scope="module")
def viewing(payload_of_views, tmp_path_factory):
    """A guest with the module, where the daemon may be started."""
    folder = tmp_path_factory.mktemp("viewing")
    vm.make_nvdimm(folder / "nvdimm.img", 512)
    with vm.Guest(folder, folder / "nvdimm.img", payload_of_views) as machine:
        machine.run(vm.MAKE_NAMESPACE + f"; insmod {MODULE}")
        yield machine


def status_of(guest):
    return json.loads(guest.run("daxfuse status /mnt"))


def wait_for_no_views(guest):
    guest.run("""for i in $(seq 600); do
        daxfuse status /mnt | python3 -c 'import json, sys
sys.exit(json.load(sys.stdin)["views"]["now"])' && exit 0; sleep 0.1; done
        daxfuse status /mnt >&2; exit 1""")


def check_log(guest, expected="$^"):
    unexpected = [line for line in guest.run("dmesg").splitlines()
                  if not re.search(f"{SLOW}|{expected}", line)]
    assert unexpected == []


@pytest.fixture
def mounted(viewing):
    """A new pool with views; it must be whole afterwards, and no view be left in the kernel."""
    viewing.run(f"mkfs.daxfuse -q -f {DEVICE}; daxfuse {DEVICE} /mnt -o views=on; dmesg -C")
    assert status_of(viewing)["mount"]["views"] is True
    yield viewing
    viewing.run("daxfuse umount --wait /mnt")
    assert json.loads(viewing.run(f"fsck.daxfuse -n {DEVICE}"))["clean"]
    check_log(viewing)
    viewing.run(f"rmmod daxview; insmod {MODULE}")


@pytest.mark.parametrize("program, name", SCENARIOS)
def test_scenario(mounted, program, name):
    done = mounted.try_run(f"timeout -s KILL 200 {program} {name} /mnt", limit=250)
    assert done.status == 0, repr(done)
    views = status_of(mounted)["views"]
    assert views["made"] > 0 and views["refused"] == 0


def test_a_view_ends(mounted):
    """When nobody has the file open or mapped any more; and only then."""
    mounted.run("""mkfifo /run/go; python3 /daxfuse/hold.py < /run/go > /run/said & exec 3> /run/go
        until grep -q mapped /run/said; do sleep 0.1; done
        daxfuse status /mnt | python3 -c \
            'import json, sys; assert json.load(sys.stdin)["views"]["now"] == 1'
        echo >&3; wait; rm /run/go /run/said""")
    wait_for_no_views(mounted)


def questions_of(guest, scenario):
    before = status_of(guest)["views"]["questions"]
    guest.run(f"viewed {scenario} /mnt")
    return status_of(guest)["views"]["questions"] - before


def test_questions_in_order(mounted):
    """A file of 32 units that is asked about in order is answered ahead: a few questions in place
    of 32 for stores to holes, and less where there is memory: 1 for loads, 2 for stores. (How
    many depends on who runs when; so it is tried again.)"""
    found = []
    for _ in range(10):
        mounted.run("rm -f /mnt/file")
        found.append([questions_of(mounted, name)
                      for name in ("stores_in_order", "loads_in_order", "stores_in_order")])
        if found[-1][0] <= 16 and found[-1][1] <= 2 and found[-1][2] <= 4:
            return
    pytest.fail(str(found))


def requests_of(guest, kind, least=0):
    """How many requests of a kind the daemon has served: at least so many, sooner or later. (One is
    counted after its answer; and a daemon that is slow is not asked for its counts.)"""
    for _ in range(600):
        said = guest.run("daxfuse status --prometheus /mnt").splitlines()
        counts = {line.split('operation="')[1].split('"')[0]: int(line.split()[-1])
                  for line in said if line.startswith("daxfuse_request_duration_seconds_count{")}
        if counts and counts.get(kind, 0) >= least:
            return counts.get(kind, 0)
        time.sleep(0.1)
    pytest.fail(repr(said))


def test_reads_and_writes_make_no_request(mounted):
    """Not one for 8,192 reads of 4 KiB, as many writes over bytes, and appends; and few questions (of reads
    none: they are answered at open). A
    file that was small when it was opened for writing is read and written through the daemon."""
    mounted.run("python3 -c 'open(\"/mnt/file\", \"wb\").write(b\"r\" * (16 << 20))'")
    before = {kind: requests_of(mounted, kind) for kind in ("read", "write", "getxattr", "setattr")}
    for scenario, most in ("viewed reads_all", 1), ("written written_over", 8), ("written appended", 30):
        asked = status_of(mounted)["views"]["questions"]
        mounted.run(f"{scenario} /mnt")
        assert status_of(mounted)["views"]["questions"] <= asked + most, scenario
    mounted.run("""python3 -c 'import os
fd = os.open("/mnt/small", os.O_RDWR | os.O_CREAT)
os.write(fd, bytes(5000))
os.pread(fd, 100, 0)'""")
    requests_of(mounted, "write", before["write"] + 1)
    mounted.run("xfs_io -r -c 'chattr +x' /mnt/file; xfs_io -r -c 'chattr -x' /mnt/file")
    after = {kind: requests_of(mounted, kind, before[kind]) for kind in before}
    assert {kind: after[kind] - before[kind] for kind in ("read", "write", "setattr")} == {
        "read": 1, "write": 1, "setattr": 0}
    assert after["getxattr"] <= before["getxattr"] + 8, "it is asked for privileges at each write"


def test_programs_of_the_library(mounted):
    """What tests/daxmap runs with the library, without it; all maps 2 MiB where it can."""
    for name in PROGRAM:
        mounted.run(f"rm -f /mnt/file; python3 -c '{FILE}'")
        done = mounted.try_run(f"timeout -s KILL 100 daxmap-program {name} /mnt/file", limit=150)
        assert done.status == {"dies_of_sigbus": 128 + 7}.get(name, 0), f"{name}: {done!r}"
    counters = status_of(mounted)["mappings"]["counters"]
    assert counters["huge"] > 2 * len(PROGRAM)


def test_beside_the_library(mounted):
    mounted.run("python3 /daxfuse/beside.py")


def test_two_users(mounted):
    """A user's program reaches its file; neither the other user's nor the device."""
    mounted.run("""install -m 777 -d /mnt/both; cd /mnt/both
        python3 /daxfuse/two.py 1000 one; python3 /daxfuse/two.py 1001 two
        if python3 /daxfuse/two.py 1001 one; then exit 1; else test $? = 3; fi""")


def test_without_any_library(mounted):
    """A static program that makes its system calls by itself."""
    mounted.run("timeout -s KILL 100 raw /mnt/file")
    assert status_of(mounted)["views"]["made"] == 1


def test_containers(mounted):
    """Two users, each in namespaces of their own, with a root directory that is part of the mount,
    from which the program comes, too."""
    mounted.run("""for id in 1000 1001; do
            install -d -m 700 -o $id -g $id /mnt/$id
            install -m 755 -o $id -g $id /daxfuse/bin/raw /mnt/$id/raw
            setpriv --reuid $id --regid $id --clear-groups \
                unshare --user --map-root-user --mount --pid --net --ipc --uts --fork \
                timeout -s KILL 100 chroot /mnt/$id /raw /file & programs="$programs $!"
        done
        for program in $programs; do wait $program; done
        cmp /mnt/1000/file /mnt/1001/file; test $(stat -c %u /mnt/1001/file) = 1001""")
    assert status_of(mounted)["views"]["made"] >= 2


def test_watchers(mounted):
    mounted.run("timeout -s KILL 100 python3 /daxfuse/watched.py")


@pytest.mark.parametrize("module", list(FUNCTIONAL))
def test_functional(viewing, module):
    viewing.run("dmesg -C")
    result = viewing.try_run(
        f"cd /daxfuse/tests && DAXFUSE_OPTIONS=views=auto DAXFUSE_BIN=/daxfuse/bin "
        f"DAXFUSE_DEVICE={DEVICE} python3 -m pytest -q -x -p no:cacheprovider functional/{module} "
        f"-k '({FUNCTIONAL[module]}) and not killed'", limit=900)
    assert result.status == 0, result.stdout[-5000:]
    check_log(viewing)


# Kill the serving process so many times, each as soon as the last one's successor answers; then
# everybody goes on for a while, and is told to stop.
KILL = """
goes_on() {
    for program in $programs; do kill -0 $program || { cat /run/wrong; exit 1; }; done
}
rounds() { for i in 0 1 2 3 4 5 6; do grep -hc "^$i" /run/said || true; done; }
all_begin_again() {
    before=($(rounds)); after=(0 0 0 0 0 0 0)
    while ! (for i in 0 1 2 3 4 5 6; do test ${after[$i]} -gt ${before[$i]} || exit 1; done); do
        goes_on; sleep 0.1; after=($(rounds))
    done
}
supervisor=$(pgrep -xo daxfuse)
: > /run/said; : > /run/wrong
viewed lasts /mnt >> /run/said 2>> /run/wrong & programs=$!
written lasts /mnt >> /run/said 2>> /run/wrong & programs="$programs $!"
all_begin_again
for i in $(seq %d); do
    child=$(pgrep -P $supervisor)
    kill -9 $child
    stat /mnt/never-looked-up-$i > /dev/null 2>&1 || true
    goes_on; sleep 0.$((RANDOM %% 3))$((RANDOM %% 10))
done
all_begin_again; touch /mnt/stop
for program in $programs; do wait $program || { cat /run/wrong; exit 1; }; done
"""
KILLS = int(os.environ.get("DAXFUSE_VM_KILLS", 12))


def test_daemon_dies_again_and_again(viewing):
    """Programs store to holes, change their files and end, and nobody notices."""
    viewing.run(f"mkfs.daxfuse -q -f {DEVICE}; daxfuse {DEVICE} /mnt; dmesg -C")
    viewing.run(KILL % KILLS, limit=900)
    status = status_of(viewing)
    assert status["mount"]["starts"] == KILLS + 1 and status["mount"]["views"] is True
    wait_for_no_views(viewing)
    viewing.run("daxfuse umount --wait /mnt")
    assert json.loads(viewing.run(f"fsck.daxfuse -n {DEVICE}"))["clean"]
    check_log(viewing)
    viewing.run(f"rmmod daxview; insmod {MODULE}")


def test_without_the_module(viewing):
    """auto does without, and says why; on does not mount."""
    viewing.run("rmmod daxview; mkfs.daxfuse -q -f " + DEVICE)
    done = viewing.try_run(f"daxfuse {DEVICE} /mnt -o views=on")
    assert done.status != 0 and "module daxview is not loaded" in done.stderr, repr(done)
    done = viewing.try_run(f"daxfuse {DEVICE} /mnt")
    assert done.status == 0 and "no kernel views: the module" in done.stderr, repr(done)
    mount = status_of(viewing)["mount"]
    assert mount["views"] is False and "not loaded" in mount["no_views"]
    viewing.run(f"insmod {MODULE}; kill -9 $(pgrep -P $(pgrep -xo daxfuse))")
    mount = status_of(viewing)["mount"]
    assert mount["starts"] == 2 and mount["views"] is False
    assert "none when it was mounted" in mount["no_views"]
    viewing.run("daxfuse umount --wait /mnt")
    done = viewing.try_run(f"daxfuse {DEVICE} /mnt")
    assert done.status == 0 and "mapped through kernel views" in done.stderr, repr(done)
    mount = status_of(viewing)["mount"]
    assert mount["views"] is True and mount["keeper"] == "supervisor"
    viewing.run("""daxfuse umount --wait /mnt; truncate -s 64M /dev/shm/pool
        mkfs.daxfuse -q /dev/shm/pool; daxfuse /dev/shm/pool /mnt""")
    mount = status_of(viewing)["mount"]
    assert mount["keeper"] == "supervisor" and "no_views" in mount, "an image has none"
    viewing.run("daxfuse umount --wait /mnt; rm /dev/shm/pool")


HELD = """mkfifo /run/go; python3 /daxfuse/hold.py < /run/go > /run/said 2>&1 & program=$!
    exec 3> /run/go; until grep -q mapped /run/said; do sleep 0.1; done
    """


def test_daemon_is_replaced(viewing):
    """A mapping goes on, and what it stores is seen; its file is open no more than it was."""
    viewing.run(f"mkfs.daxfuse -q -f {DEVICE}; daxfuse {DEVICE} /mnt; dmesg -C")
    viewing.run(HELD + f"""for i in 1 2 3; do daxfuse restart /mnt; done
        exec 4< /mnt/file; echo >&3; wait $program; exec 3>&-
        head -c 1 /mnt/file | grep -q n
        if daxfuse {DEVICE} /mnt -o remount,ro 2> /run/refused; then exit 1; fi
        grep -q "mapped through kernel views" /run/refused; exec 4<&-""")
    status = status_of(viewing)
    assert status["mount"]["starts"] == 4 and status["mount"]["views"] is True
    wait_for_no_views(viewing)
    for mode in "ro", "rw":
        viewing.run(f"daxfuse {DEVICE} /mnt -o remount,{mode}")
        assert status_of(viewing)["mount"]["views"] is (mode == "rw")
    viewing.run("rm /run/go")
    viewing.run(HELD + "echo >&3; wait $program; exec 3>&-; head -c 1 /mnt/file | grep -q n")
    assert status_of(viewing)["views"]["made"] > 0
    viewing.run("daxfuse umount --wait /mnt; rm /run/go")
    assert json.loads(viewing.run(f"fsck.daxfuse -n {DEVICE}"))["clean"]
    check_log(viewing)


# systemd's part in the guest (tests/restart/keeper.py).
MANAGER = """
import sys
sys.path.insert(0, "/daxfuse/tests")
from restart.keeper import Manager
class Ready:
    def set(self):
        open("/run/ready", "w").close()
Manager(["/daxfuse/bin/daxfuse", "/dev/dax0.0", "/mnt", "-o", "keeper=systemd"], "/run", Ready()).run()
"""


def test_systemd_is_the_keeper(viewing):
    """Its process is killed, and executes another one in its own place."""
    viewing.run(f"mkfs.daxfuse -q -f {DEVICE}; dmesg -C; rm -f /run/ready /run/log\n"
                f"cat > /run/manager.py <<'END'\n{MANAGER}END\n"
                "python3 /run/manager.py > /run/managed 2>&1 & manager=$!\n"
                "until test -e /run/ready; do kill -0 $manager; sleep 0.1; done\n" + HELD + """
        for i in 1 2; do
            kill -9 $(pgrep -x daxfuse); stat /mnt/never-looked-up-$i 2> /dev/null || true
            daxfuse restart /mnt
        done
        echo >&3; wait $program; exec 3>&-; rm /run/go
        head -c 1 /mnt/file | grep -q n
        daxfuse status /mnt > /run/status
        kill $manager; wait $manager || { cat /run/managed /run/log; exit 1; }""")
    mount = json.loads(viewing.run("cat /run/status"))["mount"]
    assert mount["keeper"] == "systemd" and mount["starts"] == 5 and mount["views"] is True
    assert json.loads(viewing.run(f"fsck.daxfuse -n {DEVICE}"))["clean"]
    check_log(viewing)


@pytest.mark.parametrize("keeper", ["none", "supervisor"])
def test_mount_ends_with_its_daemon(viewing, keeper):
    """Nobody is left who could start another one: a program is told, and does not wait. A mapping that
    is left keeps the device from other daemons."""
    viewing.run(f"mkfs.daxfuse -q -f {DEVICE}; daxfuse {DEVICE} /mnt -o keeper={keeper}; dmesg -C")
    viewing.run(HELD.replace("hold.py", "left.py") + f"""kill -9 $(pgrep -x daxfuse); sleep 1; umount -l /mnt
        echo >&3; until grep -q told /run/said; do kill -0 $program || (cat /run/said; exit 1); sleep 0.1; done
        if daxfuse {DEVICE} /mnt -o views=on; then exit 1; fi
        if daxfuse {DEVICE} /mnt; then exit 1; fi
        if mkfs.daxfuse -f {DEVICE}; then exit 1; fi
        echo >&3; wait $program; exec 3>&-
        daxfuse {DEVICE} /mnt; head -c 2 /mnt/file | grep -q ml
        daxfuse umount --wait /mnt; rm /run/go""")
    assert json.loads(viewing.run(f"fsck.daxfuse -n {DEVICE}"))["clean"]
    check_log(viewing)


# How it is started, as a shell's job, and which process serves.
GIVEN_UP = {
    "supervisor": (f"daxfuse {DEVICE} /mnt -f > /run/log 2>&1 &", "pgrep -P $(pgrep -xo daxfuse)"),
    "systemd": (f"cat > /run/manager.py <<'END'\n{MANAGER}END\n"
                "python3 /run/manager.py > /run/managed 2>&1 &", "pgrep -x daxfuse"),
}


@pytest.mark.parametrize("keeper", list(GIVEN_UP))
def test_daemon_is_given_up(viewing, keeper):
    """It can't live. Then no other one comes, though its keeper is there: a program is told, and the
    pool can be checked when the program has ended."""
    start, serving = GIVEN_UP[keeper]
    viewing.run(f"mkfs.daxfuse -q -f {DEVICE}; dmesg -C; rm -f /run/log; ulimit -c 0\n{start}\n"
                f"keeper=$!; until mountpoint -q /mnt; do kill -0 $keeper; sleep 0.1; done\n" +
                HELD.replace("hold.py", "left.py") + f"""
        until grep -q "answers EIO" /run/log; do kill -SEGV $({serving}) || true; sleep 1; done
        echo >&3; until grep -q told /run/said; do kill -0 $program || (cat /run/said; exit 1); sleep 0.1; done
        if fsck.daxfuse -n {DEVICE}; then exit 1; fi
        echo >&3; wait $program; exec 3>&-; rm /run/go
        umount -l /mnt; timeout 60 fsck.daxfuse -n {DEVICE} > /run/checked
        kill $keeper || true; wait $keeper || true""", limit=200)
    assert json.loads(viewing.run("cat /run/checked"))["clean"]
    check_log(viewing)


def wait_for(guest, part, key, value):
    """A number of the status: what brings it about goes on by itself."""
    for _ in range(600):
        if status_of(guest)[part][key] == value:
            return
        time.sleep(0.1)
    pytest.fail(f"{key} is not {value}: {status_of(guest)[part]}")


def test_memory_fails(viewing):
    """The last one: that page of the device stays as it is. The pool knows of it, and the next
    process, too; the space is not given out any more."""
    viewing.run(f"mkfs.daxfuse -q -f {DEVICE}; daxfuse {DEVICE} /mnt; dmesg -C")
    viewing.run("viewed fails /mnt")
    wait_for(viewing, "views", "failed", 1)
    wait_for(viewing, "space", "bad_ranges", 1)
    viewing.run("kill -9 $(pgrep -P $(pgrep -xo daxfuse))")
    status = status_of(viewing)
    assert status["mount"]["starts"] == 2 and status["space"]["bad_ranges"] == 1
    viewing.run("""python3 -c 'import mmap
with open("/mnt/file", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
    assert mapped[0:1] == b"h" and mapped[-4096:-4095] == b"h"'
python3 -c 'import errno, os
file = os.open("/mnt/file", os.O_RDONLY)
try:
    os.pread(file, 4096, (2 << 20) + 3 * 4096)
    assert False
except OSError as error:
    assert error.errno == errno.EIO, error
assert os.pread(file, 8192, (2 << 20) + 2 * 4096) == b"h" + bytes([102] * 4095)
assert os.pread(file, 1, (2 << 20) + 4 * 4096) == b"h"'""")
    wait_for_no_views(viewing)
    before = status_of(viewing)["space"]["bad_blocks"]
    viewing.run("rm /mnt/file")
    wait_for(viewing, "space", "bad_blocks", before + 512)
    viewing.run("daxfuse umount --wait /mnt")
    assert json.loads(viewing.run(f"fsck.daxfuse -n {DEVICE}"))["clean"]
    check_log(viewing, "Injecting memory failure|Memory failure: .* Recovered|MCE: Killing")


def test_machine_is_killed(payload_of_views, tmp_path):
    """While programs store through views; what was told of is there at the next boot."""
    nvdimm, acks, told = tmp_path / "nvdimm.img", tmp_path / "acks.log", {}
    vm.make_nvdimm(nvdimm, 512)
    begin = f"insmod {MODULE}; dmesg -C; daxfuse {DEVICE} /mnt -o views=on"
    with vm.Guest(tmp_path, nvdimm, payload_of_views) as guest:
        guest.run(f"{vm.MAKE_NAMESPACE}; mkfs.daxfuse -q {DEVICE}; {begin}\n"
                  "setsid python3 /daxfuse/stores.py < /dev/null > /dev/null 2> /run/wrong &")
        deadline = time.monotonic() + vm.LIMIT
        while min(told.get(name, 0) for name in ("one", "two", "log")) < 1000:
            assert time.monotonic() < deadline, guest.run("cat /run/wrong") + guest.log()
            time.sleep(0.2)
            told, _ = load.read_acks(acks)
        assert guest.run("cat /run/wrong; pgrep -fc '^python3 /daxfuse/stores.py'") == "4\n"
        assert status_of(guest)["views"]["made"] > 2
        guest.kill()
    told, _ = load.read_acks(acks)
    with vm.Guest(tmp_path, nvdimm, payload_of_views) as guest:
        guest.run(begin)
        for name in "one", "two", "log":
            guest.run(f"python3 /daxfuse/stores.py {name} {told[name]}")
        guest.run(f"daxfuse umount --wait /mnt; fsck.daxfuse -n {DEVICE}")
        check_log(guest)
