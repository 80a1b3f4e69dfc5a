"""What the reference logs, counts and sends: answers for tests/oracle/report.rs."""
import io
import json
import logging
import os
import struct
import sys
import time
import unicodedata
from collections import defaultdict

from swift.common.utils import get_statsd_client, logs
# It must come behind utils, which it needs half way through.
from swift.common.statsd_client import get_labeled_statsd_client
from swift.obj import replicator

logs.logging_monkey_patch()
loggers = 0


def get_logger(conf, **kwargs):
    """A new logger: the reference would give the same one again for the same route."""
    global loggers
    loggers += 1
    return logs.get_swift_logger(conf, log_route='route-%d' % loggers, **kwargs)


def log_past(logger, message):
    """Logs without the logger, whose daemon then has it as text for stderr."""
    real, sys.stderr = sys.stderr, logs.LoggerFileObject(logger, 'STDERR')
    try:
        logging.error(message)
    finally:
        sys.stderr = real
        logging.getLogger().handlers.clear()


def log(conf, prefix, records):
    """Logs each (level, message), and returns what the console got."""
    real, sys.__stderr__ = sys.__stderr__, io.StringIO()
    try:
        logger = get_logger(conf, log_to_console=True)
        prefixed = logs.get_prefixed_swift_logger(logger, prefix)
        for level, message in records:
            if level == 'root':
                log_past(prefixed, message)
            else:
                getattr(prefixed, level)(message)
        for handler in list(logger.logger.handlers):
            handler.close()
        return sys.__stderr__.getvalue()
    finally:
        sys.__stderr__ = real


def exceptions(codes):
    """The text after `message: ` for each error of the system."""
    lines = []
    logger = logs.SwiftLogAdapter(logging.getLogger('exceptions'), 'name')
    logger.error = lines.append
    for code in codes:
        try:
            raise OSError(code, os.strerror(code))
        except OSError:
            logger.exception('message')
    return lines


def statsd(conf, log_name, calls):
    """Makes each call, all of which are lucky whatever the sample rate is."""
    client = get_statsd_client(conf, log_name)
    client.random = lambda: 0.0
    for method, *args in calls:
        getattr(client, method)(*args)


def labelled(conf, calls):
    """The same of the client that the object server has, in which each call has labels."""
    client = get_labeled_statsd_client(conf)
    client.random = lambda: 0.0
    for method, *args, labels in calls:
        getattr(client, method)(*args, labels=labels)


def refuses_labels(conf):
    try:
        get_labeled_statsd_client(conf)
    except ValueError:
        return True
    return False


def reprs(floats, strings, lists):
    """The repr of each; floats come as their bits."""
    numbers = [struct.unpack('<d', struct.pack('<Q', bits))[0] for bits in floats]
    return {
        'floats': [repr(number) for number in numbers],
        'rounded': [repr(round(number, 4)) for number in numbers],
        'strings': [repr(string) for string in strings],
        'lists': [repr(strings) for strings in lists],
    }


def unprintable():
    """All code points that repr escapes, and those that this Unicode version does not know."""
    codes = [code for code in range(0x110000) if not 0xd800 <= code < 0xe000]
    return {
        'unprintable': [code for code in codes if not chr(code).isprintable()],
        'unassigned': [code for code in codes if unicodedata.category(chr(code)) == 'Cn'],
    }


def new_replicator(**attributes):
    """A replicator that was never started."""
    daemon = object.__new__(replicator.ObjectReplicator)
    for name, value in attributes.items():
        setattr(daemon, name, value)
    return daemon


def stats_lines(counters, last_attempted, total, elapsed, partition_times):
    lines = []
    logger = logging.getLogger('stats')
    logger.info = lambda message, args=(): lines.append(message % args)
    daemon = new_replicator(
        stats_for_dev={'sda': replicator.Stats(**counters)}, last_replication_count=last_attempted, start=0.0,
        job_count=total, partition_times=partition_times, logger=logger)
    real, time.time = time.time, lambda: elapsed
    try:
        daemon.stats_line()
    finally:
        time.time = real
    return lines


def pass_stats(path, failures, disks, minutes, end, workers):
    """Counts the failures of each device, adds the counters, and writes the recon cache at the end of a pass."""
    stats = defaultdict(replicator.Stats)
    for device, counters in disks.items():
        stats[device] = replicator.Stats(**counters)
        stats[device].add_failure_stats(failures[device])
    daemon = new_replicator(
        stats_for_dev=stats, rcache=path, logger=logging.getLogger('recon'), is_multiprocess_worker=workers)
    daemon.update_recon(minutes, end, list(disks))


def aggregate(path, local_devices):
    new_replicator(
        rcache=path, all_local_devices=set(local_devices), logger=logging.getLogger('recon')).post_multiprocess_run()


OPERATIONS = {function.__name__: function for function in (
    log, exceptions, statsd, labelled, refuses_labels, reprs, unprintable, stats_lines, pass_stats, aggregate)}

for line in sys.stdin:
    operation, arguments = json.loads(line)
    print(json.dumps(OPERATIONS[operation](**arguments)), flush=True)
