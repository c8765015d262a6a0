import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="sigaltstack of Linux is what is kept"
)
SHOW = """
import ctypes
def stack():
    size = 8 + 8 + 8  # of stack_t: start, flags and padding, size
    held = (ctypes.c_char * size)()
    ctypes.CDLL(None).sigaltstack(None, held)
    return bytes(held)[:12]
"""


def run(code):
    """Run code in a process of its own, whose signal stack nobody changed before."""
    return subprocess.run([sys.executable, "-c", SHOW + code], capture_output=True, text=True)


def test_products_of_openvino_leave_the_stack_of_signal_handlers_as_it_was():
    result = run(
        "before = stack()\n"
        "from ivme.hardware.products.openvino import default_precision, paths\n"
        "default_precision()\n"
        "paths()[0].prepare(16, 1).run()\n"
        "print(stack() == before)"
    )
    assert result.stdout.splitlines()[-1:] == ["True"], result.stderr


def test_a_signal_after_products_of_openvino_reaches_its_handler():
    result = run(
        "import signal\n"
        "from ivme.hardware.products.openvino import paths\n"
        "for path in paths()[:1] * 2: path.prepare(16, 1).run()\n"
        "try:\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt:\n"
        "    print('handled')"
    )
    assert result.returncode != -signal.SIGSEGV
    assert result.stdout.splitlines()[-1:] == ["handled"], result.stderr
