from __future__ import annotations

import dataclasses

import pytest
from django.db import connection

from curation.embedded import tuning

_GB = 1 << 30
LAPTOP = tuning.Machine(memory_bytes=16 * _GB, free_bytes=10 * _GB, cores=8, shared_memory_bytes=8 * _GB)


def test_a_quarter_of_the_memory_is_the_cache() -> None:
    assert tuning.settings_for(LAPTOP)["shared_buffers"] == "4096MB"


def test_the_cache_is_bounded_on_large_and_small_machines() -> None:
    server = dataclasses.replace(LAPTOP, memory_bytes=512 * _GB, free_bytes=400 * _GB)
    tiny = dataclasses.replace(LAPTOP, memory_bytes=_GB // 4, free_bytes=_GB // 8, cores=1)
    assert tuning.settings_for(server)["shared_buffers"] == "8192MB"
    assert tuning.settings_for(tiny)["shared_buffers"] == "128MB"


def test_building_an_index_takes_at_most_half_of_what_is_free_beside_the_cache() -> None:
    assert tuning.settings_for(LAPTOP)["maintenance_work_mem"] == "3072MB"
    full = dataclasses.replace(LAPTOP, free_bytes=1 * _GB)
    assert tuning.settings_for(full)["maintenance_work_mem"] == "64MB"


def test_parallel_work_avoids_a_small_dev_shm() -> None:
    container = dataclasses.replace(LAPTOP, shared_memory_bytes=64 << 20)
    assert tuning.settings_for(LAPTOP)["dynamic_shared_memory_type"] == "posix"
    assert tuning.settings_for(container)["dynamic_shared_memory_type"] == "mmap"


@pytest.mark.parametrize("cores", [1, 2, 64])
def test_every_number_of_cores_gives_settings_that_postgres_takes(cores: int) -> None:
    settings = tuning.settings_for(dataclasses.replace(LAPTOP, cores=cores))
    assert 1 <= int(settings["max_parallel_workers_per_gather"]) <= int(settings["max_parallel_workers"])
    assert int(settings["max_parallel_maintenance_workers"]) >= 1


def test_values_are_quoted_in_the_file() -> None:
    assert "unix_socket_directories = '/it''s/here'" in tuning.as_conf({"unix_socket_directories": "/it's/here"})


def test_this_machine_can_be_read() -> None:
    machine = tuning.Machine.this_one()
    assert machine.cores >= 1
    assert 0 < machine.free_bytes <= machine.memory_bytes


@pytest.mark.django_db
def test_the_embedded_server_runs_with_these_settings() -> None:
    expected = tuning.settings_for(tuning.Machine.this_one())
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('jit'), current_setting('wal_level'), current_setting('max_connections')"
        )
        found = cursor.fetchone()
    assert found == (expected["jit"], expected["wal_level"], expected["max_connections"])
