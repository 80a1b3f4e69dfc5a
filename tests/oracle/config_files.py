"""Answers how Swift reads configuration files and single values.

Questions:
    {"read": PATH}                  -> {"ok": {key: value}} of [object-replicator]
    {"parser": NAME, "text": TEXT}  -> {"ok": value}
Either way {"error": text} where Swift refuses.
"""
import json
import sys

from swift.common.utils import (
    config_auto_int_value, config_fallocate_value, config_true_value,
    list_from_csv, non_negative_float, readconf)

I64_MAX = 2 ** 63 - 1


def held(number):
    """Integers end at the limits of i64 on the other side."""
    return max(-I64_MAX - 1, min(I64_MAX, number))


def auto_int(text):
    number = config_auto_int_value(text, None)
    return None if number is None else held(number)


PARSERS = {
    'boolean': config_true_value,
    'integer': lambda text: held(int(text)),
    'float': lambda text: repr(float(text)),
    'auto_integer': auto_int,
    'bytes_or_percent': lambda text: config_fallocate_value(text) and None,
    'non_negative_float': lambda text: repr(non_negative_float(text)),
    'list': list_from_csv,
}


def answer(question):
    if 'read' in question:
        options = readconf(question['read'], 'object-replicator')
        del options['__file__']
        return options
    return PARSERS[question['parser']](question['text'])


for line in sys.stdin:
    try:
        result = {'ok': answer(json.loads(line))}
    except Exception as error:
        result = {'error': '%s: %s' % (type(error).__name__, error)}
    print(json.dumps(result), flush=True)
