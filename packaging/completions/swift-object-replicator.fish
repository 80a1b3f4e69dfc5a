complete -c swift-object-replicator -s d -l devices -d 'Replicate only the devices with these names, separated by commas; needs --once, --dry-run or --first. With --pause or --resume: these devices' -r
complete -c swift-object-replicator -s p -l partitions -d 'Replicate only the partitions with these numbers, separated by commas; needs --once, --dry-run or --first' -r
complete -c swift-object-replicator -s i -l policies -d 'Replicate only the policies with these indices, separated by commas; needs --once, --dry-run or --first' -r
complete -c swift-object-replicator -l to -d 'With --pause or --resume: these peers, separated by commas: 10.0.0.7, 10.0.0.7:6200 or 10.0.0.7/sdc. With --first: what goes to this peer' -r
complete -c swift-object-replicator -l for -d 'With --pause or --set: for so long, like 90s, 30m, 2h or 1d' -r
complete -c swift-object-replicator -l reason -d 'With --pause, --resume, --set or --first: why, for those who will wonder' -r
complete -c swift-object-replicator -l report -d 'Write a report of the pass to this file, whose name ends with .json or .html; needs --once' -r -F
complete -c swift-object-replicator -l moved -d 'With --first: what has moved since this was the ring, a file that is kept from before' -r -F
complete -c swift-object-replicator -s v -l verbose -d 'Log to the console too'
complete -c swift-object-replicator -s o -l once -d 'Make one pass and exit'
complete -c swift-object-replicator -l check -d 'Check configuration, rings, devices and peers, and exit with 0 (all is well), 1 (warnings) or 2 (errors)'
complete -c swift-object-replicator -l write -d 'With --check: write a small file into every device of the peers, and remove it again'
complete -c swift-object-replicator -l status -d 'Show what a replicator with this configuration is doing, and exit with 0 (it is well), 1 (it looks stuck) or 2 (it is not running)'
complete -c swift-object-replicator -l dry-run -d 'Show what a pass would do, without doing it; exit with 0, or 1 if anything could not be looked at'
complete -c swift-object-replicator -l rebalance -d 'Show how many hand-offs are left on this node\'s devices, how many are stuck and why, and for how long; exit with 0, or 2 if something cannot be told'
complete -c swift-object-replicator -l cluster -d 'With --rebalance: ask every node of the rings whether the next ring may be pushed; exit with 0 (yes), 1 (wait) or 2 (it cannot be told)'
complete -c swift-object-replicator -l pause -d 'Let a running daemon begin nothing more: on these devices (-d), to these peers (--to), or at all'
complete -c swift-object-replicator -l resume -d 'Let a running daemon go on with what is paused: on these devices (-d), to these peers (--to), or with everything'
complete -c swift-object-replicator -l set -d 'Show the limits of a running daemon, or set those that are named behind CONFIG: concurrency=4 rsync_bwlimit=20000; NAME=default lets the configuration have its way again'
complete -c swift-object-replicator -l keep -d 'With --pause or --set: also after a restart of the daemon'
complete -c swift-object-replicator -l json -d 'With --check, --dry-run, --rebalance, --status or an order to a daemon: print JSON'
complete -c swift-object-replicator -l strict -d 'Exit with 3 if anything failed, and with 4 if the pass was not complete; needs --once'
complete -c swift-object-replicator -l first -d 'Let partitions go before all else: those of --partitions, --moved or --to; in the daemon that runs with this configuration, or else in a single pass over them alone, with the exit status of --strict'
complete -c swift-object-replicator -l wait -d 'With --first: wait until each of them has been tried, and exit with 0, or 3 if any failed'
complete -c swift-object-replicator -l version -d 'Show the version and exit'
complete -c swift-object-replicator -s h -l help -d 'Print help'
