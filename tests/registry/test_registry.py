"""Names of agents, planners and suites: built in, registered and from other packages."""

import subprocess
import sys
import textwrap

import pytest

from dream_agents import registry
from dream_agents.registry import PluginError, Registry, UnknownNameError

GROUP = "dream_agents_test.planners"


@pytest.fixture
def planners():
    return Registry("planner", GROUP, {"counter": "collections:Counter"})


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a package with entry points on the path, as installing it would."""

    def install_package(name, entry_points, code=""):
        folder = tmp_path / name
        info = folder / f"{name}-1.5.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
        lines = "".join(f"{key} = {value}\n" for key, value in entry_points.items())
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}")
        (folder / f"{name}_module.py").write_text(textwrap.dedent(code))
        monkeypatch.syspath_prepend(folder)

    return install_package


def test_builtin_name_is_imported_when_asked_for(planners):
    from collections import Counter

    assert planners.get("counter") is Counter


def test_registered_name_is_found(planners):
    @planners.register("mine")
    class Mine:
        pass

    assert planners.get("mine") is Mine
    assert planners.names() == ["counter", "mine"]


def test_taken_names_are_not_replaced_silently(planners):
    planners.register("mine")(int)
    for name, owner in [("mine", "<class 'int'>"), ("counter", "collections:Counter")]:
        with pytest.raises(ValueError, match="is taken by") as error:
            planners.register(name)(float)
        assert owner in str(error.value)
        assert planners.get(name) is not float


def test_same_object_may_be_registered_again(planners):
    from collections import Counter

    for _ in range(2):
        planners.register("mine")(int)
        planners.register("counter")(Counter)


def test_override_replaces_builtin_and_registered_names(planners):
    for name in ("mine", "counter"):
        planners.register(name, override=True)(int)
        planners.register(name, override=True)(float)
        assert planners.get(name) is float


def test_unknown_name_tells_nearest_and_available(planners):
    with pytest.raises(UnknownNameError) as error:
        planners.get("Conter")
    assert isinstance(error.value, KeyError)
    assert isinstance(error.value, ValueError)
    assert str(error.value) == '"Conter" is not a planner; did you mean "counter"? Available: counter.'
    with pytest.raises(UnknownNameError, match=r'^"xyz" is not a planner\. Available: counter\.$'):
        planners.get("xyz")


def test_unknown_name_error_travels_between_processes(planners):
    import pickle

    with pytest.raises(UnknownNameError) as error:
        planners.get("Conter")
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


def test_entry_points_are_listed_and_loaded_only_when_asked_for(planners, install):
    install("plugin_a", {"theirs": "plugin_a_module:Theirs"}, "class Theirs: pass")
    assert planners.names() == ["counter", "theirs"]
    assert "plugin_a_module" not in sys.modules
    assert planners.get("theirs").__name__ == "Theirs"


def test_broken_entry_point_names_its_package(planners, install):
    install("plugin_b", {"broken": "plugin_b_module:Theirs"}, "import a_module_that_is_not_there")
    assert planners.names() == ["broken", "counter"]
    with pytest.raises(
        PluginError, match=r"plugin_b 1\.5 \(plugin_b_module:Theirs\).*a_module_that_is_not_there"
    ):
        planners.get("broken")


def test_two_packages_with_one_name_are_both_named(planners, install):
    install("plugin_c", {"same": "plugin_c_module:A"}, "A = 1")
    install("plugin_d", {"same": "plugin_d_module:B"}, "B = 1")
    with pytest.raises(PluginError) as error:
        planners.get("same")
    assert "plugin_c 1.5" in str(error.value)
    assert "plugin_d 1.5" in str(error.value)


def test_entry_point_name_is_taken_for_others_but_not_for_itself(planners, install):
    code = "class Theirs: pass"
    install("plugin_e", {"theirs": "plugin_e_module:Theirs"}, code)
    with pytest.raises(ValueError, match=r"taken by plugin_e 1\.5"):
        planners.register("theirs")(int)
    thing = planners.get("theirs")
    planners.register("theirs")(thing)
    assert planners.get("theirs") is thing


def test_own_registries_know_the_documented_names():
    assert {"tdmpc2", "dream_mpc"} <= set(registry.agents.names())
    assert "tdmpc2" in registry.backbones.names()
    assert {"policy", "mppi", "dream"} <= set(registry.planners.names())
    assert {"dmc", "gymnasium"} <= set(registry.suites.names())


def test_registry_imports_nothing_heavy():
    code = """
        import sys, dream_agents.registry
        heavy = {"torch", "stable_baselines3", "dm_control", "mujoco", "shimmy"} & set(sys.modules)
        sys.exit(f"imported {heavy}" if heavy else 0)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


class TestNameOf:
    def test_names_lead_there_and_back(self, planners, install):
        install("foo", {"foo": "foo_module:Foo"}, "class Foo: ...")
        planners.register("mine")(int)
        for name in ("counter", "foo", "mine"):
            assert planners.name_of(planners.get(name)) == name
        assert planners.name_of(str) is None

    def test_name_that_was_taken_over_is_that_of_the_new_owner(self, planners):
        from collections import Counter

        planners.register("counter", override=True)(int)
        assert planners.name_of(int) == "counter"
        assert planners.name_of(Counter) is None

    def test_broken_plugins_are_passed_over(self, planners, install):
        install("broken", {"broken": "broken_module:Foo"}, "raise RuntimeError")
        assert planners.name_of(str) is None
