"""Accelerators, as the operating systems of machines that have some tell of them."""

from pathlib import Path

from lepton_ai.measure.accelerators import Accelerator, accelerators


def silent(command: tuple[str, ...]) -> str:
    return ""


def put(root: Path, **files: str) -> None:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


def test_this_machine_can_be_asked() -> None:
    assert all(device.kind and device.name for device in accelerators())


def test_nvidia_by_its_tool(tmp_path: Path) -> None:
    def tool(command: tuple[str, ...]) -> str:
        assert command[0] == "nvidia-smi"
        return "NVIDIA H100 80GB HBM3, 81559\nNVIDIA H100 80GB HBM3, 81559\n"

    found = accelerators(tmp_path, {}, tool)
    assert [device.kind for device in found] == ["NVIDIA GPU"] * 2
    assert found[0].name == "NVIDIA H100 80GB HBM3"
    assert found[0].memory_bytes == 81559 * 2**20


def test_nvidia_by_its_driver(tmp_path: Path) -> None:
    put(
        tmp_path,
        **{"proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t Tesla T4\nIRQ: 7\n"},
    )
    found = accelerators(tmp_path, {}, silent)
    assert found == [Accelerator(kind="NVIDIA GPU", name="Tesla T4")]
    broken = accelerators(tmp_path, {}, lambda command: "NVIDIA-SMI has failed")
    assert broken == found


def test_graphics_of_amd_and_intel(tmp_path: Path) -> None:
    drm = "sys/class/drm"
    put(
        tmp_path,
        **{
            f"{drm}/card0/device/vendor": "0x1002\n",
            f"{drm}/card0/device/device": "0x74a1\n",
            f"{drm}/card0/device/mem_info_vram_total": "206141652992\n",
            f"{drm}/card0-HDMI-A-1/device/vendor": "0x1002\n",
            f"{drm}/card1/device/vendor": "0x8086\n",
            f"{drm}/card1/device/device": "0x56a0\n",
            f"{drm}/card2/device/vendor": "0x1234\n",
        },
    )
    found = accelerators(tmp_path, {}, silent)
    assert [device.kind for device in found] == ["AMD GPU", "Intel GPU"]
    assert found[0].memory_bytes == 206141652992
    assert found[1].name == "device 0x56a0"


def test_tpus_and_npus(tmp_path: Path) -> None:
    put(
        tmp_path,
        **{
            "sys/class/accel/accel0/device/vendor": "0x8086\n",
            "sys/class/accel/accel0/device/device": "0x7d1d\n",
            "dev/accel0": "",
            "dev/accel1": "",
        },
    )
    named = {"TPU_ACCELERATOR_TYPE": "v5litepod-4"}
    assert [(device.kind, device.name) for device in accelerators(tmp_path, {}, silent)] == [
        ("Intel NPU", "device 0x7d1d"),
        ("TPU", "accel1"),
    ]
    assert accelerators(tmp_path, named, silent)[-1].name == "v5litepod-4"
    assert accelerators(tmp_path / "empty", named, silent)[0].kind == "TPU"
