"""Answers what Swift's replicator makes of its command line, and of its options.

Questions:
    {"words": [...]}     -> {"exit": code, "stdout": text, "stderr": text}, or
                            {"config": path, "once": bool, "verbose": bool, "overrides": {...} or null}
    {"settings": PATH}   -> {"ok": {name: text}}, every number as Python's repr, or {"error": text}
"""
import contextlib
import io
import json
import os
import sys
from unittest import mock

from swift.common import utils
from swift.obj import replicator


def command_line(words):
    """Runs main() up to the daemon."""
    stdout, stderr, started = io.StringIO(), io.StringIO(), []

    def run_daemon(klass, config, **options):
        started.append((config, options))

    with mock.patch.object(replicator, 'run_daemon', run_daemon), \
            mock.patch.object(sys, 'argv', ['/usr/bin/swift-object-replicator'] + words), \
            contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            replicator.main()
        except SystemExit as end:
            return {'exit': end.code, 'stdout': stdout.getvalue(), 'stderr': stderr.getvalue()}
    config, options = started[0]
    return {'config': config, 'once': options['once'], 'verbose': options['verbose'], 'overrides': overrides(options)}


def overrides(options):
    try:
        found = utils.parse_override_options(**dict(options, once=True))
    except (ValueError, AttributeError):
        return None
    return {'devices': found.devices or None,
            'partitions': found.partitions or None,
            'policies': found.policies or None}


class Ring(object):
    replica_count = 3


class Replicator(replicator.ObjectReplicator):
    def load_object_ring(self, policy):
        return Ring()


TIMES = ('stats_interval', 'ring_check_interval', 'interval', 'rsync_timeout', 'http_timeout', 'conn_timeout',
         'node_timeout')
NUMBERS = ('concurrency', 'replicator_workers', 'network_chunk_size', 'rsync_error_log_line_length', 'handoff_delete')
FLAGS = ('mount_check', 'rsync_compress', 'log_rsync_transfers', 'handoffs_first')
TEXTS = ('devices_dir', 'swift_dir', 'ring_ip', 'rsync_io_timeout', 'rsync_bwlimit', 'rsync_module',
         'recon_cache_path')


def settings(path):
    """Reads the options in the order of run_daemon, without starting anything."""
    conf = utils.readconf(path, 'object-replicator')
    once = not utils.config_true_value(conf.get('daemonize', 'true'))
    logger = utils.get_logger(conf, conf.get('log_name'), log_route='object-replicator')
    utils.config_fallocate_value(conf.get('fallocate_reserve', '1%'))
    daemon = Replicator(conf)
    manager = next(iter(daemon._df_router.policy_to_manager.values()))
    statsd = logger.logger.statsd_client
    found = {name: getattr(daemon, name) for name in TIMES + NUMBERS + FLAGS + TEXTS}
    found.update(
        port=daemon.port, sync_method=daemon.sync_method.__name__, once=once, user=conf.get('user', 'swift'),
        reclaim_age=manager.reclaim_age, disk_chunk_size=manager.disk_chunk_size, log_name=logger.server,
        statsd_host=statsd._host, statsd_port=statsd._port, statsd_rate=statsd._default_sample_rate,
        statsd_factor=statsd._sample_rate_factor, statsd_emit_legacy=statsd.emit_legacy)
    return {name: value if isinstance(value, str) else repr(value) for name, value in found.items()}


for line in sys.stdin:
    question = json.loads(line)
    if 'words' in question:
        result = command_line(question['words'])
    else:
        try:
            result = {'ok': settings(question['settings'])}
        except Exception as error:
            result = {'error': '%s: %s' % (type(error).__name__, error)}
    print(json.dumps(result), flush=True)
