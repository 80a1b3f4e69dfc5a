"""Answers what Swift makes of a swift.conf.

Question: its path. Answer: {"ok": {"prefix": hex, "suffix": hex, "policies": [...]}} or {"error": text}.
"""
import json
import sys

from swift.common import storage_policy, utils
from swift.obj import diskfile  # noqa: F401, the modules that policies name


def load(path):
    utils.SWIFT_CONF_FILE = path
    utils.HASH_PATH_PREFIX = utils.HASH_PATH_SUFFIX = b''
    try:
        utils.validate_hash_conf()
        salts_missing = None
    except utils.InvalidHashPathConfigError as error:
        salts_missing = error
    storage_policy.reload_storage_policies()
    policies = [describe(policy) for policy in storage_policy.POLICIES]
    if salts_missing:
        raise salts_missing
    return {'prefix': utils.HASH_PATH_PREFIX.hex(),
            'suffix': utils.HASH_PATH_SUFFIX.hex(),
            'policies': policies}


def describe(policy):
    if policy.policy_type == storage_policy.REPL_POLICY:
        # As the replicator does for each policy when it starts.
        policy.get_diskfile_manager({}, None)
    return [policy.idx, policy.name, policy.alias_list[1:],
            policy.policy_type, policy.is_default, policy.is_deprecated]


for line in sys.stdin:
    try:
        result = {'ok': load(json.loads(line))}
    except (Exception, SystemExit) as error:
        result = {'error': str(error)}
    print(json.dumps(result), flush=True)
