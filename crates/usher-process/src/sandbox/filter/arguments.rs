//! Which system calls a program may make, by their arguments.
//!
//! Lists of what is denied where little is, and of what is allowed where little is needed: the
//! options of processes and sockets are too many to judge those to come. Deliberately absent:
//! arguments that are addresses, which a filter cannot follow.

use crate::renewal::MARK;

/// Conditions on arguments, all of which must hold.
pub(super) type Arguments = &'static [(u8, When)];
/// For each call the ways in which it is meant.
type Rules = &'static [(i64, &'static [Arguments])];

/// What one argument is.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    /// This value.
    Is(u64),
    /// Any other than this value.
    Not(u64),
    /// Any other than this value, its upper half included.
    NotWhole(u64),
    /// Of the bits in the first, exactly those in the second.
    Bits(u64, u64),
}

/// Namespaces that a new process could ask for.
const NEW_TIME: u64 = 0x80;
const NEW_MOUNTS: u64 = 0x0002_0000;
const NEW_GROUPS: u64 = 0x0200_0000;
const NEW_NAMES: u64 = 0x0400_0000;
const NEW_IPC: u64 = 0x0800_0000;
const NEW_USERS: u64 = 0x1000_0000;
const NEW_PROCESSES: u64 = 0x2000_0000;
const NEW_NETWORK: u64 = 0x4000_0000;
/// What a new task may be given that is not its own from the start.
pub(in crate::sandbox) const NEW_ANY: u64 = NEW_TIME
    | NEW_MOUNTS
    | NEW_GROUPS
    | NEW_NAMES
    | NEW_IPC
    | NEW_USERS
    | NEW_PROCESSES
    | NEW_NETWORK;
/// A new task that has its maker's memory, and no copy of it.
pub(in crate::sandbox) const SAME_MEMORY: u64 = 0x100;

/// Families of sockets, and what is told of them.
const UNIX: u64 = 1;
const INET: u64 = 2;
const INET6: u64 = 10;
const NETLINK: u64 = 16;
/// The bits of a socket's type without its flags.
const KIND: u64 = 0xf;
const STREAM: u64 = 1;
const DATAGRAM: u64 = 2;
const TCP: u64 = 6;
const UDP: u64 = 17;
const MULTIPATH_TCP: u64 = 262;

/// The bits of a file's mode that say what it is.
const FILE_KIND: u64 = 0o170_000;
const CHARACTER_DEVICE: u64 = 0o020_000;
const BLOCK_DEVICE: u64 = 0o060_000;

/// Requests to a terminal that write into it, or load a module of the kernel.
const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541c;
const TIOCSETD: u64 = 0x5423;
/// How an epoll set looks for packets itself, which no list of its entries shows.
const EPIOCSPARAMS: u64 = 0x4008_8a01;

/// The usual personality of a process, and the question which it is.
const PERSONALITY_LINUX: u64 = 0;
const PERSONALITY_ASK: u64 = 0xffff_ffff;

/// Advice that makes guard pages, which no list of mappings shows: a run's would stay.
const GUARD_INSTALL: u64 = 102;
const GUARD_REMOVE: u64 = 103;
/// Advice that wipes memory for a child. Who relies on that must hear that it is not so.
const WIPE_ON_FORK: u64 = 18;

/// What of an open file sends signals in another way than usual, holds others off, tells of
/// changes, or gives hints to disks that are not there.
const F_SETSIG: u64 = 10;
const F_SETLEASE: u64 = 1024;
const F_NOTIFY: u64 = 1026;
const F_SET_RW_HINT: u64 = 1036;
const F_SET_FILE_RW_HINT: u64 = 1038;

/// A table of descriptors of the caller's own, beside that of its process.
const CLOSE_RANGE_UNSHARE: u64 = 2;

/// Names for mappings without a file. Runtimes set them at every turn, and do without.
const SET_MAPPING_NAME: u64 = 0x5356_4d41;

/// Calls that are known with these arguments only. Runtimes try others as well, and go on without a
/// word if there is no such call.
pub(super) const KNOWN_ARGUMENTS: Rules = &[
    // Go asks for it first, and takes TCP if it is not there.
    (libc::SYS_socket, &[&[(2, When::Not(MULTIPATH_TCP))]]),
    // New C libraries guard stacks this way, and protect pages instead where they cannot.
    (
        libc::SYS_madvise,
        &[&[
            (2, When::Not(GUARD_INSTALL)),
            (2, When::Not(GUARD_REMOVE)),
            (2, When::Not(WIPE_ON_FORK)),
        ]],
    ),
    (libc::SYS_prctl, &[&[(0, When::Not(SET_MAPPING_NAME))]]),
    // Every program that the GNU C library starts asks for shadow stacks and takes them if it can.
    #[cfg(target_arch = "x86_64")]
    (
        libc::SYS_arch_prctl,
        &[
            // Segment bases: set and get, of both; registers that are put back with the others.
            &[(0, When::Is(0x1001))],
            &[(0, When::Is(0x1002))],
            &[(0, When::Is(0x1003))],
            &[(0, When::Is(0x1004))],
            // Whether the processor may be asked what it is.
            &[(0, When::Is(0x1011))],
            // Which large registers there are, which are permitted, and the wish for them.
            &[(0, When::Is(0x1021))],
            &[(0, When::Is(0x1022))],
            &[(0, When::Is(0x1023))],
        ],
    ),
];

/// Hints about memory that the kernel keeps with each mapping, where nothing that is quick to read
/// tells of them. They change no result, so that the program is told yes, and nothing is done.
pub(super) const HINTS: Rules = &[(
    libc::SYS_madvise,
    &[
        // MADV_RANDOM, MADV_SEQUENTIAL, MADV_DONTFORK
        &[(2, When::Is(1))],
        &[(2, When::Is(2))],
        &[(2, When::Is(10))],
        // MADV_MERGEABLE, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_DONTDUMP
        &[(2, When::Is(12))],
        &[(2, When::Is(14))],
        &[(2, When::Is(15))],
        &[(2, When::Is(16))],
    ],
)];

/// The options of `prctl` that read, that change nothing here, or that are put back: any other is
/// denied. `docs/renewal.md` says which is which.
const PROCESS_OPTIONS: Arguments = &[
    // PR_SET_PDEATHSIG; what was set cannot be read, and the parent ends after its children.
    (0, When::Not(1)),
    // PR_GET_DUMPABLE, PR_SET_DUMPABLE, PR_GET_KEEPCAPS
    (0, When::Not(3)),
    (0, When::Not(4)),
    (0, When::Not(7)),
    // PR_SET_NAME, PR_GET_NAME
    (0, When::Not(15)),
    (0, When::Not(16)),
    // PR_GET_SECCOMP, PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_GET_TSC, PR_GET_SECUREBITS
    (0, When::Not(21)),
    (0, When::Not(23)),
    (0, When::Not(24)),
    (0, When::Not(25)),
    (0, When::Not(27)),
    // PR_GET_TIMERSLACK, PR_MCE_KILL_GET
    (0, When::Not(30)),
    (0, When::Not(34)),
    // PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER
    (0, When::Not(36)),
    (0, When::Not(37)),
    // PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_GET_TID_ADDRESS
    (0, When::Not(38)),
    (0, When::Not(39)),
    (0, When::Not(40)),
    // PR_SET_THP_DISABLE, PR_GET_THP_DISABLE
    (0, When::Not(41)),
    (0, When::Not(42)),
    // PR_CAP_AMBIENT, of capabilities that it has not; PR_GET_SPECULATION_CTRL, PR_GET_MDWE
    (0, When::Not(47)),
    (0, When::Not(52)),
    (0, When::Not(66)),
    // PR_GET_AUXV, and what is unknown without a word.
    (0, When::Not(0x4155_5856)),
    (0, When::Not(SET_MAPPING_NAME)),
];

/// Levels of socket options.
const SOL_SOCKET: u64 = 1;
const SOL_IP: u64 = 0;
const SOL_TCP: u64 = 6;
const SOL_UDP: u64 = 17;
const SOL_IPV6: u64 = 41;
const SOL_NETLINK: u64 = 270;

/// Options of sockets that can be read back, so that a renewal sees them; others are denied. They
/// hold filters, keys and memberships.
const SOCKET_OPTIONS: Arguments = &[
    (1, When::Is(SOL_SOCKET)),
    // SO_REUSEADDR, SO_BROADCAST, SO_SNDBUF, SO_RCVBUF, SO_KEEPALIVE, SO_OOBINLINE
    (2, When::Not(2)),
    (2, When::Not(6)),
    (2, When::Not(7)),
    (2, When::Not(8)),
    (2, When::Not(9)),
    (2, When::Not(10)),
    // SO_PRIORITY, SO_LINGER, SO_REUSEPORT, SO_PASSCRED
    (2, When::Not(12)),
    (2, When::Not(13)),
    (2, When::Not(15)),
    (2, When::Not(16)),
    // SO_RCVLOWAT, SO_RCVTIMEO, SO_SNDTIMEO, SO_TIMESTAMP, SO_ZEROCOPY
    (2, When::Not(18)),
    (2, When::Not(20)),
    (2, When::Not(21)),
    (2, When::Not(29)),
    (2, When::Not(60)),
    // SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW
    (2, When::Not(66)),
    (2, When::Not(67)),
];

/// The same for the Internet protocol, version 4.
const IP_OPTIONS: Arguments = &[
    (1, When::Is(SOL_IP)),
    // IP_TOS, IP_TTL, IP_PKTINFO, IP_MTU_DISCOVER, IP_RECVERR, IP_RECVTTL, IP_RECVTOS
    (2, When::Not(1)),
    (2, When::Not(2)),
    (2, When::Not(8)),
    (2, When::Not(10)),
    (2, When::Not(11)),
    (2, When::Not(12)),
    (2, When::Not(13)),
    // IP_BIND_ADDRESS_NO_PORT, IP_MULTICAST_TTL, IP_MULTICAST_LOOP
    (2, When::Not(24)),
    (2, When::Not(33)),
    (2, When::Not(34)),
];

/// The same for TCP.
const TCP_OPTIONS: Arguments = &[
    (1, When::Is(SOL_TCP)),
    // TCP_NODELAY, TCP_CORK, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT
    (2, When::Not(1)),
    (2, When::Not(3)),
    (2, When::Not(4)),
    (2, When::Not(5)),
    (2, When::Not(6)),
    // TCP_SYNCNT, TCP_LINGER2, TCP_DEFER_ACCEPT, TCP_QUICKACK
    (2, When::Not(7)),
    (2, When::Not(8)),
    (2, When::Not(9)),
    (2, When::Not(12)),
    // TCP_CONGESTION, TCP_USER_TIMEOUT, TCP_FASTOPEN, TCP_NOTSENT_LOWAT
    (2, When::Not(13)),
    (2, When::Not(18)),
    (2, When::Not(23)),
    (2, When::Not(25)),
    // TCP_FASTOPEN_CONNECT
    (2, When::Not(30)),
];

/// The same for UDP.
const UDP_OPTIONS: Arguments = &[
    (1, When::Is(SOL_UDP)),
    // UDP_CORK, UDP_SEGMENT, UDP_GRO
    (2, When::Not(1)),
    (2, When::Not(103)),
    (2, When::Not(104)),
];

/// The same for the Internet protocol, version 6.
const IPV6_OPTIONS: Arguments = &[
    (1, When::Is(SOL_IPV6)),
    // IPV6_UNICAST_HOPS, IPV6_MULTICAST_HOPS, IPV6_MULTICAST_LOOP, IPV6_MTU_DISCOVER
    (2, When::Not(16)),
    (2, When::Not(18)),
    (2, When::Not(19)),
    (2, When::Not(23)),
    // IPV6_RECVERR, IPV6_V6ONLY, IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT
    (2, When::Not(25)),
    (2, When::Not(26)),
    (2, When::Not(49)),
    (2, When::Not(51)),
    // IPV6_RECVTCLASS, IPV6_TCLASS
    (2, When::Not(66)),
    (2, When::Not(67)),
];

/// The same for questions about the own network.
const NETLINK_OPTIONS: Arguments = &[
    (1, When::Is(SOL_NETLINK)),
    // NETLINK_PKTINFO, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK
    (2, When::Not(3)),
    (2, When::Not(10)),
    (2, When::Not(11)),
    (2, When::Not(12)),
];

/// Advice to drop pages, and to drop locked ones too.
const DROP: u64 = 4;
const DROP_LOCKED: u64 = 24;

/// Calls that the platform answers with what the program asked for, where it can be asked: memory
/// that lies on an image would not become zero when it is dropped or grows, and memory that lies on
/// another device would not be copied for a child. Those that put memory back carry a mark.
pub(super) const ANSWERED_ARGUMENTS: Rules = &[
    (
        libc::SYS_madvise,
        &[
            &[(2, When::Is(DROP)), (2, When::NotWhole(MARK | DROP))],
            &[
                (2, When::Is(DROP_LOCKED)),
                (2, When::NotWhole(MARK | DROP_LOCKED)),
            ],
        ],
    ),
    (libc::SYS_mremap, &[]),
    (libc::SYS_clone, &[&[(0, When::Bits(SAME_MEMORY, 0))]]),
];

/// Calls that are denied with these arguments.
pub(super) const DENIED_ARGUMENTS: Rules = &[
    (
        libc::SYS_clone,
        &[
            &[(0, When::Bits(NEW_TIME, NEW_TIME))],
            &[(0, When::Bits(NEW_MOUNTS, NEW_MOUNTS))],
            &[(0, When::Bits(NEW_GROUPS, NEW_GROUPS))],
            &[(0, When::Bits(NEW_NAMES, NEW_NAMES))],
            &[(0, When::Bits(NEW_IPC, NEW_IPC))],
            &[(0, When::Bits(NEW_USERS, NEW_USERS))],
            &[(0, When::Bits(NEW_PROCESSES, NEW_PROCESSES))],
            &[(0, When::Bits(NEW_NETWORK, NEW_NETWORK))],
        ],
    ),
    (
        libc::SYS_socket,
        &[
            &[
                (0, When::Not(UNIX)),
                (0, When::Not(INET)),
                (0, When::Not(INET6)),
                (0, When::Not(NETLINK)),
            ],
            // Addresses of the own network are asked for this way, at protocol 0.
            &[(0, When::Is(NETLINK)), (2, When::Not(0))],
            &[
                (0, When::Is(INET)),
                (1, When::Bits(KIND, STREAM)),
                (2, When::Not(0)),
                (2, When::Not(TCP)),
            ],
            &[
                (0, When::Is(INET)),
                (1, When::Bits(KIND, DATAGRAM)),
                (2, When::Not(0)),
                (2, When::Not(UDP)),
            ],
            &[
                (0, When::Is(INET6)),
                (1, When::Bits(KIND, STREAM)),
                (2, When::Not(0)),
                (2, When::Not(TCP)),
            ],
            &[
                (0, When::Is(INET6)),
                (1, When::Bits(KIND, DATAGRAM)),
                (2, When::Not(0)),
                (2, When::Not(UDP)),
            ],
            // Raw sockets and whatever else is neither of the two.
            &[(0, When::Is(INET)), (1, When::Bits(3, 3))],
            &[(0, When::Is(INET)), (1, When::Bits(4, 4))],
            &[(0, When::Is(INET)), (1, When::Bits(8, 8))],
            &[(0, When::Is(INET6)), (1, When::Bits(3, 3))],
            &[(0, When::Is(INET6)), (1, When::Bits(4, 4))],
            &[(0, When::Is(INET6)), (1, When::Bits(8, 8))],
        ],
    ),
    (
        libc::SYS_setsockopt,
        &[
            &[
                (1, When::Not(SOL_SOCKET)),
                (1, When::Not(SOL_IP)),
                (1, When::Not(SOL_TCP)),
                (1, When::Not(SOL_UDP)),
                (1, When::Not(SOL_IPV6)),
                (1, When::Not(SOL_NETLINK)),
            ],
            SOCKET_OPTIONS,
            IP_OPTIONS,
            TCP_OPTIONS,
            UDP_OPTIONS,
            IPV6_OPTIONS,
            NETLINK_OPTIONS,
        ],
    ),
    (
        libc::SYS_fcntl,
        &[
            &[(1, When::Is(F_SETSIG))],
            &[(1, When::Is(F_SETLEASE))],
            &[(1, When::Is(F_NOTIFY))],
            &[(1, When::Is(F_SET_RW_HINT))],
            &[(1, When::Is(F_SET_FILE_RW_HINT))],
        ],
    ),
    (
        libc::SYS_ioctl,
        &[
            &[(1, When::Is(TIOCSTI))],
            &[(1, When::Is(TIOCLINUX))],
            &[(1, When::Is(TIOCSETD))],
            &[(1, When::Is(EPIOCSPARAMS))],
        ],
    ),
    (
        libc::SYS_personality,
        &[&[
            (0, When::Not(PERSONALITY_LINUX)),
            (0, When::Not(PERSONALITY_ASK)),
        ]],
    ),
    (libc::SYS_prctl, &[PROCESS_OPTIONS]),
    (
        libc::SYS_close_range,
        &[&[(2, When::Bits(CLOSE_RANGE_UNSHARE, CLOSE_RANGE_UNSHARE))]],
    ),
    (
        libc::SYS_mknodat,
        &[
            &[(2, When::Bits(FILE_KIND, CHARACTER_DEVICE))],
            &[(2, When::Bits(FILE_KIND, BLOCK_DEVICE))],
        ],
    ),
    #[cfg(target_arch = "x86_64")]
    (
        libc::SYS_mknod,
        &[
            &[(1, When::Bits(FILE_KIND, CHARACTER_DEVICE))],
            &[(1, When::Bits(FILE_KIND, BLOCK_DEVICE))],
        ],
    ),
];
