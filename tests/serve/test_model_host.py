import asyncio
import threading

import pytest

from lepton_ai.serve.model_host import ModelHost
from lepton_ai.serve.refusal import RefusalError


@pytest.fixture
def host(nets):
    host = ModelHost(nets["sqrt"], queue_limit=2)
    yield host
    host.close()


def test_work_runs_one_at_a_time_and_off_the_loop(host):
    inside: list[int] = []
    most = 0

    def work(net):
        nonlocal most
        inside.append(1)
        most = max(most, len(inside))
        threading.Event().wait(0.01)
        inside.pop()
        return threading.current_thread()

    async def both():
        return await asyncio.gather(host.do(work), host.do(work))

    first, second = asyncio.run(both())
    assert first is second is not threading.current_thread()
    assert most == 1


def test_a_full_queue_refuses_and_empties_again(host):
    opened = threading.Event()

    async def scenario():
        waiting = [asyncio.create_task(host.do(lambda net: opened.wait(10))) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(RefusalError, match="busy with 2 requests") as caught:
            await host.do(lambda net: None)
        assert caught.value.status == 503
        opened.set()
        assert await asyncio.gather(*waiting) == [True, True]
        return await host.do(lambda net: net.name)

    assert asyncio.run(scenario()) == "sqrt"


def test_a_failure_reaches_the_caller_and_frees_its_place(host):
    def fail(net):
        raise ValueError("no")

    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            asyncio.run(host.do(fail))
