"""Tells whether a device is local, as the reference does.

A question {"ring_ip": TEXT, "port": N or null, "device_ip": TEXT, "device_port": N} is answered with the addresses of
this machine, the answer, and the device's address in the form that the reference compares (null if it is no IPv6);
or with null if the reference trips over the ring_ip (it takes dots in a row for an international host name).
"""

import json
import sys

from swift.common.ring.utils import is_local_device
from swift.common.utils import expand_ipv6, is_valid_ipv6, whataremyips



def answer(ring_ip, port, device_ip, device_port):
    try:
        ips = whataremyips(ring_ip)
    except UnicodeError:
        return None
    return {
        "ips": ips,
        "local": is_local_device(ips, port, device_ip, device_port),
        "normal": expand_ipv6(device_ip) if is_valid_ipv6(device_ip) else None,
    }


for line in sys.stdin:
    print(json.dumps(answer(**json.loads(line))), flush=True)
