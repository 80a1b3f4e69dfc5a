"""Reads and writes pickles as the reference does: one JSON question per line, one JSON answer each."""

import base64
import json
import pickle
import sys

from swift.common.utils.pickle import unpickle


def python_2(pairs, protocol):
    """What Python 2 writes, where a str is bytes: cPickle's own forms, put together by hand."""
    def string(text):
        if protocol == 0:
            return b'S' + repr(text).encode() + b'\n'
        return b'U' + bytes([len(text)]) + text.encode()

    memo = [0]

    def put():
        memo[0] += 1
        if protocol == 0:
            return b'p%d\n' % memo[0]
        if memo[0] < 256:
            return b'q' + bytes([memo[0]])
        return b'r' + memo[0].to_bytes(4, 'little')

    def value(thing):
        if isinstance(thing, str):
            return string(thing) + put()
        if thing is None:
            return b'N'
        if protocol == 0:
            return b'I%02d\n' % thing
        return b'\x88' if thing else b'\x89'

    start = {0: b'(dp1\n', 2: b'\x80\x02}q\x01'}[protocol]
    items = [string(k) + put() + value(v) for k, v in pairs]
    if protocol == 0:
        return start + b''.join(i + b's' for i in items) + b'.'
    batches = [items[i:i + 1000] for i in range(0, len(items), 1000)]
    return start + b''.join(b'(' + b''.join(b) + b'u' for b in batches) + b'.'


def dump(q):
    pairs = [(k, as_bytes(v, q['bytes'])) for k, v in q['pairs']]
    if q['python_2']:
        raw = python_2(pairs, q['protocol'])
    else:
        raw = pickle.dumps(dict(pairs), q['protocol'])
    return base64.b16encode(raw).decode()


def as_bytes(value, wanted):
    # (Empty bytes are pickled as a call of their class, which no dict of hashes needs.)
    return value.encode() if wanted and isinstance(value, str) and value else value


def load(q):
    """What the reference makes of these bytes: the pairs, if it is a dict."""
    loaded = unpickle(base64.b16decode(q['raw']))
    if not isinstance(loaded, dict):
        return None
    return [[k, v.decode() if isinstance(v, bytes) else v] for k, v in loaded.items()]


COMMANDS = {'dump': dump, 'load': load}

for line in sys.stdin:
    question = json.loads(line)
    try:
        answer = COMMANDS[question['do']](question)
    except Exception as error:
        answer = {'error': repr(error)}
    print(json.dumps(answer), flush=True)
