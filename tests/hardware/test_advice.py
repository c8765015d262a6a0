from dataclasses import replace

from ivme.hardware.advice import advise


def findings(inventory, ceilings):
    return {f"{advice.severity} {advice.topic}": advice for advice in advise(inventory, ceilings)}


def test_a_machine_without_figures_gets_no_advice(make_inventory, make_ceilings):
    assert advise(make_inventory(), make_ceilings(copies=())) == []


def test_more_threads_than_cores_is_a_warning(make_inventory, make_ceilings):
    machine = make_inventory(environment={"OMP_NUM_THREADS": "16"})
    advice = findings(machine, make_ceilings())["warning threads"]
    assert "OMP_NUM_THREADS=16, but 2 cores are usable" in advice.finding
    assert "OMP_NUM_THREADS=2" in advice.action


def test_fewer_threads_than_cores_is_a_warning(make_inventory, make_ceilings):
    machine = make_inventory(environment={"OMP_NUM_THREADS": "1"})
    advice = findings(machine, make_ceilings())["warning threads"]
    assert "leaves 1 of 2 cores idle" in advice.finding


def test_a_quota_below_the_visible_cores_is_a_warning(make_inventory, make_ceilings):
    machine = make_inventory(processor={"quota_cores": 1.5, "usable_cores": 1})
    advice = findings(machine, make_ceilings())["warning quota"]
    assert "1.5 cores of processor time but sees 2" in advice.finding
    assert "OMP_NUM_THREADS=1" in advice.action
    roomy = make_inventory(processor={"quota_cores": 2.0})
    assert "warning quota" not in findings(roomy, make_ceilings())


def test_an_idle_gpu_is_a_warning_with_its_reason(make_inventory, make_ceilings, h200):
    idle = replace(h200, is_usable=False, reason="torch is built without CUDA")
    advice = findings(make_inventory(accelerators=(idle,)), make_ceilings())["warning GPU"]
    assert advice.finding == "NVIDIA H200 stands idle: torch is built without CUDA."


def test_cuda_without_triton_is_a_warning(make_inventory, make_ceilings, h200):
    without = make_inventory(accelerators=(h200,))
    assert "triton" in findings(without, make_ceilings())["warning GPU"].finding
    complete = replace(without, versions={"triton": "3.9.0"})
    assert "warning GPU" not in findings(complete, make_ceilings())


def test_small_memory_is_a_warning_with_the_largest_model(make_inventory, make_ceilings):
    machine = make_inventory()
    memory = replace(machine.memory, total_bytes=2 << 30, available_bytes=1 << 30)
    advice = findings(replace(machine, memory=memory), make_ceilings())["warning memory"]
    assert "1.0 GiB are available of 2.0 GiB installed" in advice.finding
    assert "134 million parameters" in advice.action


def test_a_slow_blas_is_named_with_the_faster_library(make_inventory, make_ceilings, make_product):
    slow = make_product("torch-fp32", "fp32", 200e9)
    fast = make_product("onnxruntime-fp32", "fp32", 500e9, library="onnxruntime")
    advice = findings(make_inventory(), make_ceilings(slow, fast))["tip fp32"]
    assert "onnxruntime (onnxruntime-fp32) is 2.5 times as fast" in advice.finding
    close = replace(fast, operations_per_s=210e9)
    assert "tip fp32" not in findings(make_inventory(), make_ceilings(slow, close))


def test_native_and_emulated_bf16_get_opposite_advice(make_inventory, make_ceilings, make_product):
    fp32 = make_product("torch-fp32", "fp32", 200e9)
    native = make_ceilings(fp32, make_product("torch-bf16", "bf16", 800e9))
    advice = findings(make_inventory(), native)["tip bf16"]
    assert "natively" in advice.finding
    assert "4.0 times" in advice.finding
    old = make_inventory(processor={"instruction_sets": ("avx2", "fma")})
    emulated = make_ceilings(fp32, make_product("torch-bf16", "bf16", 100e9))
    advice = findings(old, emulated)["tip bf16"]
    assert "emulated: 0.5 times" in advice.finding
    assert "Stay in fp32" in advice.action


def test_int8_without_dot_products_says_so(make_inventory, make_ceilings, make_product):
    rates = (make_product("a", "fp32", 200e9), make_product("b", "int8", 220e9))
    old = make_inventory(processor={"instruction_sets": ("avx2", "fma")})
    advice = findings(old, make_ceilings(*rates))["tip int8"]
    assert "gains little: 1.1 times" in advice.finding
    assert "no int8 dot products (VNNI)" in advice.finding
    new = findings(make_inventory(), make_ceilings(*rates))["tip int8"]
    assert "VNNI" not in new.finding


def test_slow_signed_activations_are_named(make_inventory, make_ceilings, make_product):
    unsigned = make_product("onnxruntime-int8-u8s8", "int8", 1800e9)
    signed = make_product("onnxruntime-int8-s8s8", "int8", 90e9)
    advice = findings(make_inventory(), make_ceilings(unsigned, signed))["tip int8"]
    assert "20.0 times slower" in advice.finding


def test_unconfirmed_rates_give_no_advice(make_inventory, make_ceilings, make_product):
    slow = make_product("torch-fp32", "fp32", 2e9, is_confirmed=False)
    fast = make_product("onnxruntime-fp32", "fp32", 500e9)
    assert "tip fp32" not in findings(make_inventory(), make_ceilings(slow, fast))


def test_a_busy_machine_is_a_warning(make_inventory, make_ceilings, make_product):
    unsteady = make_product("torch-fp32", "fp32", 200e9, spread=2.0)
    advice = findings(make_inventory(), make_ceilings(unsteady))["warning noise"]
    assert "in 1 of 1 products" in advice.finding
    loaded = findings(make_inventory(), make_ceilings(busy_share=0.5))["warning noise"]
    assert "others took 50% of its cores" in loaded.finding


def test_a_precision_that_openvino_chose_unasked_is_told(make_inventory, make_ceilings):
    advice = findings(make_inventory(), make_ceilings(openvino_default_precision="bf16"))
    assert "computes fp32 models in bf16" in advice["tip OpenVINO"].finding


def test_missing_huge_pages_are_told(make_inventory, make_ceilings):
    machine = make_inventory()
    system = replace(machine.system, transparent_hugepages="never")
    advice = findings(replace(machine, system=system), make_ceilings())
    assert "Transparent huge pages are off" in advice["tip memory"].finding


def test_the_bandwidth_bounds_generation(make_inventory, make_ceilings):
    advice = findings(make_inventory(), make_ceilings())["fact generation"]
    assert "about 45 tokens/s with 1 GB of weights" in advice.finding


def test_warnings_come_first(make_inventory, make_ceilings):
    machine = make_inventory(environment={"OMP_NUM_THREADS": "16"})
    severities = [advice.severity for advice in advise(machine, make_ceilings())]
    assert severities == ["warning", "fact"]
