import configparser
import stat
import subprocess

from pipelines.local import airflow_server
from pipelines.settings import load_settings


def read(path):
    parser = configparser.RawConfigParser()
    parser.read(path)
    return parser


def test_configuration_is_private_on_loopback_and_keeps_its_keys(tmp_path):
    settings = load_settings(tmp_path, {})
    password = airflow_server.write_configuration(settings, 8123)
    path = tmp_path / "airflow" / "airflow.cfg"
    first = read(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first["api"]["host"] == "127.0.0.1"
    assert first["core"]["execution_api_server_url"] == "http://127.0.0.1:8123/execution/"
    assert airflow_server.write_configuration(settings, 8124) == password
    second = read(path)
    assert second["api"]["port"] == "8124"
    assert second["api_auth"]["jwt_secret"] == first["api_auth"]["jwt_secret"]
    assert second["core"]["fernet_key"] == first["core"]["fernet_key"]


def test_two_roots_have_two_passwords(tmp_path):
    first, second = (load_settings(tmp_path / name, {}) for name in "ab")
    assert airflow_server.write_configuration(first, 1) != airflow_server.write_configuration(second, 1)


def test_the_wrapper_keeps_log_servers_off(tmp_path):
    script = airflow_server.WRAPPER.format(airflow="/bin/echo")
    wrapper = tmp_path / "airflow"
    wrapper.write_text(script)
    wrapper.chmod(0o755)
    said = {part: subprocess.run([wrapper, part], capture_output=True, text=True, check=True).stdout.strip() for part in (
        "scheduler", "triggerer", "api-server", "standalone")}  # fmt: skip
    assert said == {
        "scheduler": "scheduler --skip-serve-logs", "triggerer": "triggerer --skip-serve-logs", "api-server": "api-server",
        "standalone": "standalone",
    }  # fmt: skip
