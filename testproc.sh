#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Starts two machine-learning jobs and, once they are at work, two processes that
# fill memory; prints their PIDs and values, follows them, and says at the end
# which survived and what killed the others. On Ctrl-C it stops what it started.

set -euo pipefail

usage() {
	cat <<'END'
Usage: bash testproc.sh [OPTIONS]

Starts ml_test1 (value 9) and ml_test2 (value 7), two machine-learning jobs, and
once they are at work test_proc1 (value 8) and test_proc2 (value 5), which take
memory without limit and ignore SIGTERM. On Ctrl-C it stops what it started.

If no user-oom answers, nothing would save the machine, so a bound is required.

Options:
  --memory SIZE          in a cgroup of that size (such as 2G or 800M), which
                         they exhaust and the machine does not notice: print
                         the command that guards it, wait for that user-oom,
                         and stop all once a test process is killed
  --walk                 wait for user-oom; fill memory at once to a little
                         above its warn threshold (450 to 4000 MiB), let both
                         test processes grow from there together, and stop all
                         once one of them is killed
  --without-ml           without the machine-learning jobs
  --ml-only              without the test processes
  --working-set-mib N[,M]
                         ml_test1 works on N MiB of data, ml_test2 on M, or on N
                         too (default: 250,300); their packages take 25 to
                         350 MiB more, depending on their versions
  --max-mib N            each test process takes N MiB and then stops growing
  --i-mean-it            start them even if no user-oom answers and there is no
                         bound
  --registry DIR         where they register (default: /tmp/user_processes)
  --socket PATH          user-oom's control socket (default: as in
                         psi-monitor --help)
  --programs DIR         take all programs from DIR instead of building them
  --help                 print this and exit

Exit status: 0 on success; 1 if they could not be started or, with --walk or
--memory, if anything but test_proc2 alone was killed; 2 for invalid arguments;
3 if no cgroup can be made for --memory, with the reason.
END
}

say() { printf 'testproc: %s\n' "$*"; }

complaints=2 # where they go

fail() {
	printf 'testproc: %s\n' "$*" >&"$complaints"
	exit 1
}

refuse() {
	printf 'testproc: %s (see --help)\n' "$*" >&2
	exit 2
}

# --- arguments ---------------------------------------------------------------

registry=/tmp/user_processes
working_set=250,300 # MiB, of ml_test1 and of ml_test2
with_ml=yes
with_test_processes=yes
bounds=() # given to every test process
daemon=() # given to psi-monitor
programs=
meant=no
walk=no
memory=        # the size of the cgroup, as it is given
arguments=("$@") # for this script to be run again

need_value() {
	if (($# < 2)) || [[ -z $2 ]]; then refuse "$1 needs a value"; fi
}

need_mib() {
	need_value "$@"
	[[ $2 =~ ^[1-9][0-9]*$ ]] || refuse "$1 takes a whole number of MiB above 0, not \`$2'"
}

while (($# > 0)); do
	case $1 in
	--walk) walk=yes ;;
	--memory)
		need_value "$@"
		[[ $2 =~ ^[1-9][0-9]*[MG]$ ]] ||
			refuse "$1 takes a size such as 2G or 800M, not \`$2'"
		memory=$2
		shift
		;;
	--max-mib)
		need_mib "$@"
		bounds=(--max-mib "$2")
		shift
		;;
	--working-set-mib)
		need_value "$@"
		[[ $2 =~ ^[1-9][0-9]*(,[1-9][0-9]*)?$ ]] ||
			refuse "$1 takes one or two whole numbers of MiB above 0, not \`$2'"
		working_set=$2
		shift
		;;
	--without-ml) with_ml=no ;;
	--ml-only) with_test_processes=no ;;
	--registry)
		need_value "$@"
		registry=$2
		shift
		;;
	--socket)
		need_value "$@"
		daemon=(--socket "$2")
		shift
		;;
	--programs)
		need_value "$@"
		programs=$2
		shift
		;;
	--i-mean-it) meant=yes ;;
	--help)
		usage
		exit 0
		;;
	*) refuse "\`$1' is no option of mine" ;;
	esac
	shift
done

if [[ $with_ml == no && $with_test_processes == no ]]; then
	refuse "--without-ml and --ml-only leave nothing to start"
fi
if [[ $walk == yes && $with_test_processes == no ]]; then
	refuse "--walk is about the test processes, which --ml-only leaves out"
fi
if [[ $walk == yes ]] && ((${#bounds[@]})); then
	refuse "--walk has bounds of its own, and takes no --max-mib"
fi

if [[ -n $memory ]]; then
	if [[ $walk == yes || $meant == yes || $with_test_processes == no ]] || ((${#bounds[@]})); then
		refuse "--memory ends by itself: it takes no --walk, --max-mib, --i-mean-it or --ml-only"
	fi
fi

# --- the programs ------------------------------------------------------------

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
ml_programs=${programs:-$here/ml_tests}

need_program() {
	[[ -x $1 ]] || fail "there is no $1${2:+; build it: $2}"
}

if [[ $with_ml == yes ]]; then
	for name in ml_test1 ml_test2; do
		need_program "$ml_programs/$name"
		# It says itself what is missing.
		"$ml_programs/$name" --check ||
			fail "$name cannot run here; without the machine-learning jobs: --without-ml"
	done
fi

if [[ $with_test_processes == yes ]]; then
	# As in README.md: other packages would select other features of what they
	# share, and all of that would be compiled once more.
	build=(cargo build --release -p user-oom -p user-oomctl -p psi-monitor -p test_procs)
	if [[ -z $programs ]]; then
		programs=${CARGO_TARGET_DIR:-$here/target}/release
		# Under sudo there is often no cargo: what was built before will do.
		if command -v cargo >/dev/null; then
			(cd -- "$here" && "${build[@]}") || fail "cannot build the programs"
		fi
	fi
	for name in test_proc1 test_proc2 psi-monitor; do
		need_program "$programs/$name" "${build[*]}"
	done
fi

# --- the cgroup --------------------------------------------------------------

# The least that the test processes can be told apart in, in MiB; the jobs take
# some 1000 more.
least_memory=400

cgroup=        # its directory; where this script has not made it, it is in it
cgroup_path=   # as user-oom names it
cgroup_made=no

no_cgroup() {
	printf 'testproc: cannot make a cgroup: %s\n' "$*" >&2
	say 'without one: --walk, as README.md says under "Without a cgroup"'
	exit 3
}

# Where a hierarchy is mounted: `cgroup` with the option memory, or `cgroup2`.
mount_of() {
	awk -v kind="$1" '{
		for (i = 7; i <= NF; i++) if ($i == "-") break
		if ($(i + 1) != kind) next
		if (kind == "cgroup" && ("," $(i + 3) ",") !~ /,memory,/) next
		print $5
		exit
	}' /proc/self/mountinfo
}

make_cgroup() {
	local mib=${memory%[MG]} available mount limit=memory.limit_in_bytes
	if [[ $memory == *G ]]; then mib=$((mib * 1024)); fi
	((least_memory <= mib)) || fail "--memory $memory is too little: at least ${least_memory}M"
	available=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
	((mib + mib / 4 <= available)) ||
		fail "--memory $memory is too much: this machine has $available MiB available"

	mount=$(mount_of cgroup)
	if [[ -z $mount ]]; then
		mount=$(mount_of cgroup2)
		limit=memory.max
	fi
	[[ -n $mount ]] || no_cgroup 'none are mounted'
	if [[ ${TESTPROC_SCOPE-} == yes ]]; then
		cgroup_path=$(sed -n 's/^0:://p' /proc/self/cgroup)
		cgroup=$mount$cgroup_path
		[[ -e $cgroup/$limit ]] ||
			no_cgroup 'systemd does not delegate the memory controller to you (Delegate=memory)'
		return
	fi
	cgroup_path=/user-oom-test-$$
	cgroup=$mount$cgroup_path
	if ! mkdir -- "$cgroup" 2>/dev/null; then
		if [[ $limit != memory.max ]] || ! command -v systemd-run >/dev/null ||
			[[ ! -S ${XDG_RUNTIME_DIR-}/systemd/private ]]; then
			no_cgroup "you may not make one in $mount: run this as root, or in a session of systemd's"
		fi
		# In a unit of one's own, this script and all; it ends with it.
		TESTPROC_SCOPE=yes exec systemd-run --user --scope --quiet \
			-p "MemoryMax=$memory" -p MemorySwapMax=0 \
			bash "${BASH_SOURCE[0]}" "${arguments[@]}"
	fi
	cgroup_made=yes
	trap remove_cgroup EXIT
	if [[ ! -e $cgroup/$limit ]]; then
		{ printf '+memory' >"$mount/cgroup.subtree_control"; } 2>/dev/null || true
	fi
	[[ -e $cgroup/$limit ]] || no_cgroup "$mount has no memory controller for it"
	printf '%s' "$memory" >"$cgroup/$limit"
	# Without swap, it is full when it is full.
	if [[ -e $cgroup/memory.swap.max ]]; then printf 0 >"$cgroup/memory.swap.max"; fi
	if [[ -e $cgroup/memory.memsw.limit_in_bytes ]]; then
		printf '%s' "$memory" >"$cgroup/memory.memsw.limit_in_bytes"
	fi
}

remove_cgroup() {
	local tries
	[[ $cgroup_made == yes ]] || return 0
	# What was in it may be ending yet.
	for ((tries = 0; tries < 50; tries++)); do
		rmdir -- "$cgroup" 2>/dev/null && return
		sleep 0.1 || true
	done
	say "cannot remove $cgroup"
}

# A socket of its own: another user-oom may guard the machine.
show_daemon() {
	if ((${#daemon[@]} == 0)); then
		daemon=(--socket "$here/target/testproc-$$.socket")
		if [[ ! -w $here/target ]]; then daemon=(--socket "${TMPDIR:-/tmp}/testproc-$$.socket"); fi
	fi
	local command=("$programs/user-oom" --registered-only --cgroup "$cgroup_path" "${daemon[@]}")
	if [[ $registry != /tmp/user_processes ]]; then command+=(--registry "$registry"); fi
	say "a cgroup of $memory is ready; start user-oom in another terminal:"
	printf '\n   '
	printf ' %q' "${command[@]}"
	printf '\n\n'
}

# --- does a daemon answer? ---------------------------------------------------

answers=no # whether a user-oom has answered

# Sets `answer` to what user-oom says of itself, or to why there is no answer;
# whether there is one.
ask_daemon() {
	local check=0
	answer=$("$programs/psi-monitor" --check "${daemon[@]}" 2>&1) || check=$?
	((check <= 1)) || [[ ${stopping-no} == yes ]] || fail "psi-monitor --check ended with status $check${answer:+: $answer}"
	return "$check"
}

look_for_daemon() {
	if ask_daemon; then
		answers=yes
		[[ -z $answer ]] || printf '%s\n' "$answer"
		return
	fi
	[[ -z $answer ]] || printf '%s\n' "$answer" >&2
	if ((${#bounds[@]})); then
		say "each test process stops at ${bounds[1]} MiB"
	elif [[ $meant == yes ]]; then
		say "no user-oom is running, as you wish"
	else
		fail "without user-oom these processes would take all memory of this machine:" \
			"start user-oom first, bound them with --max-mib N, or insist with --i-mean-it"
	fi
}

await_daemon() {
	local tries
	for ((tries = 0; tries < 300; tries++)); do
		if ask_daemon; then
			answers=yes
			fold -s -w 78 <<<"$answer"
			return
		fi
		if ((tries == 0)) && [[ -z $memory ]]; then
			say 'waiting for user-oom: start it in another terminal, as README.md says'
			say 'under "Without a cgroup"'
		fi
		sleep 0.2
	done
	if [[ -n $memory ]]; then fail 'that user-oom has not answered within 60 s'; fi
	fail 'no user-oom has answered within 60 s; start it as README.md says under' \
		'"Without a cgroup", and this again'
}

# The machine-learning jobs alone are bounded by themselves.
if [[ -n $memory ]]; then
	make_cgroup
	show_daemon
	await_daemon
elif [[ $walk == yes ]]; then
	await_daemon
elif [[ $with_test_processes == yes ]]; then
	look_for_daemon
fi

# --- the walk ----------------------------------------------------------------

# How far memory may be above user-oom's warn threshold when the test processes
# begin, in MiB: less leaves test_proc2 too small for its end to be enough, and
# more is a threshold that was not made for this.
least_room=450
most_room=4000

# What each takes a second, in MiB. test_proc2 must be the hungrier: what grows
# counts half, and were test_proc1 alone to grow, its 8 would be less than 5.
rates=(20 40)

# So many seconds of both's growth are left above the threshold when they have
# taken what they take at once,
lead=3
# and after so many they hold still, or where both have half of what is available.
# It takes so long where others free memory meanwhile: they take what those free.
longest=60

# The outcome is waited for at most that many seconds.
patience=120

# Sets `available`, `room` and `registered` from what user-oom has answered.
read_answer() {
	local form='memory ([0-9]+) MiB of [0-9]+ MiB available \(warn at ([0-9]+) MiB\)'
	form+='.*, ([0-9]+) registered'
	[[ $answer =~ $form ]] || fail "cannot make sense of what user-oom answers: $answer"
	available=${BASH_REMATCH[1]}
	room=$((available - BASH_REMATCH[2]))
	registered=${BASH_REMATCH[3]}
}

# Available memory moves by hundreds of MiB where others compile: so the sizes are
# made from a fresh reading, and it is waited for one that will do.
await_room() {
	local tries
	for ((tries = 0; tries < 600; tries++)); do
		if [[ $stopping == yes ]]; then return; fi
		ask_daemon || fail "user-oom has ended"
		read_answer
		if ((least_room <= room && room <= most_room)); then return; fi
		if ((tries == 0)); then
			say "$room MiB to the warn threshold; waiting until it is $least_room to" \
				"$most_room MiB"
			say "(if other programs have exited, start user-oom again instead)"
		fi
		sleep 0.2 || true
	done
	fail "memory is $room MiB above user-oom's warn threshold, not $least_room to" \
		"$most_room: others have taken or freed much since user-oom was started;" \
		"start it again, and this"
}

# Starts both, each to begin at a signal.
start_held() {
	local both=$((rates[0] + rates[1])) seconds=$longest index
	local at_once=$((room - lead * both))
	local shares=($((at_once / 4)) $((at_once - at_once / 4)))
	local spare=$((available / 2 - at_once))
	if ((spare < seconds * both)); then seconds=$((spare / both)); fi
	((lead < seconds)) || fail "there are too few MiB available for a walk: $available"
	for index in 0 1; do
		start "$programs/test_proc$((index + 1))" --hold \
			--at-once-mib "${shares[index]}" --rate-mib-s "${rates[index]}" \
			--max-mib "$((shares[index] + seconds * rates[index]))"
		held+=("$!")
		test_processes+=("$!")
	done
	say "$room MiB to the warn threshold; they begin with ${shares[0]} and" \
		"${shares[1]} MiB"
}

# Both begin together, once user-oom has seen them.
release() {
	local before=$registered pid tries
	for ((tries = 0; tries < 150; tries++)); do
		for pid in "${held[@]}"; do
			running "$pid" || return 0 # said as any other end
		done
		if [[ $stopping == yes ]]; then return; fi
		ask_daemon || [[ $stopping == yes ]] || fail "user-oom has ended"
		# A signal can cut the answer short.
		if [[ $stopping == yes ]]; then return; fi
		read_answer
		if ((before + ${#held[@]} <= registered)); then
			for pid in "${held[@]}"; do
				if running "$pid"; then kill -USR1 "$pid" || true; fi
			done
			return
		fi
		sleep 0.2 || true
	done
	fail "user-oom has not seen the test processes register in $registry within 30 s"
}

# Whether a test process has come to its end, or neither does.
is_over() {
	local pid
	[[ $walk == yes || -n $memory ]] || return 1
	for pid in "${test_processes[@]}"; do
		[[ -z ${status_of[$pid]-} ]] || return 0
	done
	if ((SECONDS > patience)); then
		say "neither was killed within $patience s: others freed as much as these took"
		return 0
	fi
	return 1
}

# Whether test_proc2 was killed by SIGKILL, and all others survived.
as_promised() {
	local pid want
	for pid in "${pids[@]}"; do
		want=survived
		if [[ ${name_of[$pid]} == test_proc2 ]]; then want='was killed by SIGKILL'; fi
		[[ ${fate_of[$pid]} == "$want" ]] || return 1
	done
}

# --- who was started, and what became of them --------------------------------

pids=() # in the order of their start; the rest is by pid
declare -A name_of=()
declare -A value_of=()
declare -A status_of=() # set once it has ended
declare -A fate_of=()   # likewise, in words
declare -A ended_by_us=()
test_processes=()
held=() # those of them that begin at a signal
stopping=no

start() {
	local program=$1
	shift
	(
		if [[ $cgroup_made == yes ]]; then printf '%s' "$BASHPID" >"$cgroup/cgroup.procs"; fi
		exec "$program" --registry "$registry" "$@" 2>&3 3>&-
	) &
	pids+=("$!")
	name_of[$!]=${program##*/}
}

start_test_process() {
	start "$programs/$1" "${bounds[@]}"
	test_processes+=("$!")
}

start_ml() {
	start "$ml_programs/$1" --lines --working-set-mib "$2" --ready "$scratch/$1"
}

# Sets `living` to the pids of those that have not ended.
living=()
look() {
	local pid
	living=()
	for pid in "${pids[@]}"; do
		[[ -n ${status_of[$pid]-} ]] || living+=("$pid")
	done
}

# Whether this child of ours is still at work. Bash knows, and better than
# `kill -0`, which would take another process with its pid for it.
running() { [[ " $(jobs -pr | tr '\n' ' ')" == *" $1 "* ]]; }

# Waits a moment, and buries those that have ended. (`wait -n` would tell
# sooner, but before bash 5.3 it overlooks one that ended before it was called.)
follow() {
	local pid
	sleep 0.2 || true # a signal ends it early
	for pid in "${living[@]}"; do
		running "$pid" || collect "$pid"
	done
}

collect() {
	local status=0
	wait "$1" || status=$?
	bury "$1" "$status"
}

# An entry outlives a process that was killed where no daemon removes it.
bury() {
	status_of[$1]=$2
	fate_of[$1]=$(fate "$1")
	if [[ $stopping == no ]]; then
		say "${name_of[$1]} ($1) ${fate_of[$1]} at $(printf '%(%T)T')"
	fi
	[[ ! -O $registry/$1 ]] || rm -f -- "$registry/$1"
}

# A process is in the registry as soon as its entry holds a value.
await_registration() {
	local pid=$1 value tries
	for ((tries = 0; tries < 300; tries++)); do
		value=
		read -r value _ 2>/dev/null <"$registry/$pid" || true
		if [[ $value =~ ^[0-9]+$ ]]; then
			value_of[$pid]=$value
			return
		fi
		if [[ $stopping == yes ]] || ! running "$pid"; then return; fi
		sleep 0.1 || true
	done
	say "${name_of[$pid]} ($pid) has not registered within 30 s"
}

# A machine-learning job is at work once it says so: loaded, and grown no more for
# as long as user-oom looks back to tell who fills the memory. Without a limit of time:
# how long its data takes to load is told by its size and the machine, and
# Ctrl-C ends the wait.
await_work() {
	local pid=$1
	while [[ ! -e $scratch/${name_of[$pid]} ]]; do
		if [[ $stopping == yes ]] || ! running "$pid"; then return; fi
		sleep 0.2 || true
	done
}

# What a process came to, in words.
fate() {
	local pid=$1 status=${status_of[$1]} signal
	if [[ -n ${ended_by_us[$pid]-} || $stopping == yes && $status =~ ^(0|129|130)$ ]]; then
		printf 'survived'
	elif ((status == 0)); then
		printf 'ended by itself'
	elif ((status > 128)) && signal=$(kill -l "$((status - 128))" 2>/dev/null); then
		printf 'was killed by SIG%s' "$signal"
	else
		printf 'failed with status %s' "$status"
	fi
}

# Why this victim was killed, according to user-oom: once it has noticed its end.
tell_why() {
	local said tries line
	for ((tries = 0; tries < 25; tries++)); do
		said=$("$programs/psi-monitor" --fate "$1" "${daemon[@]}" 2>&1) || true
		[[ $said == *'not gone yet'* ]] || break
		sleep 0.2 || true
	done
	fold -s -w 66 <<<"$said" | while IFS= read -r line; do say "  ${line% }"; done
}

# Ends what is left: gently, since SIGINT lets them take back their entry and
# save, and after five seconds for certain.
end_all() {
	local pid tries
	look
	for pid in "${living[@]}"; do
		if running "$pid"; then kill -INT "$pid" || true; fi
	done
	for ((tries = 0; tries < 25 && ${#living[@]}; tries++)); do
		follow
		look
	done
	for pid in "${living[@]}"; do
		if running "$pid" && kill -KILL "$pid"; then ended_by_us[$pid]=yes; fi
		collect "$pid"
	done
}

# A daemon makes the directory; where none ran yet, so do we.
[[ -d $registry ]] || mkdir -m 1777 -- "$registry"

scratch=$(mktemp -d)

# Bash would say in words of its own who was killed; ours say more.
exec 3>&2 2>/dev/null
complaints=3

trap 'stopping=yes' INT TERM HUP PIPE
trap 'end_all; rm -rf -- "$scratch"; remove_cgroup' EXIT

# What loads its data while memory runs out would be taken for what fills it: so
# the jobs come first, and the rest once they are at work.
if [[ $with_ml == yes ]]; then
	start_ml ml_test1 "${working_set%,*}"
	start_ml ml_test2 "${working_set#*,}"
	say "loading ${working_set%,*} and ${working_set#*,} MiB of data;" \
		"the jobs are at work once their memory has stood still for 10 s"
	for pid in "${pids[@]}"; do await_registration "$pid"; done
	for pid in "${pids[@]}"; do await_work "$pid"; done
fi
if [[ $walk == yes ]]; then await_room; fi
if [[ $walk == yes && $stopping == no ]]; then
	start_held
elif [[ $with_test_processes == yes && $stopping == no ]]; then
	start_test_process test_proc1
	start_test_process test_proc2
fi
for pid in "${pids[@]}"; do
	[[ -n ${value_of[$pid]-} ]] || await_registration "$pid"
done

row() { printf 'testproc: %8s  %-12s %6s  %s\n' "$@"; }

row PID NAME VALUE ''
for pid in "${pids[@]}"; do
	row "$pid" "${name_of[$pid]}" "${value_of[$pid]-none}" ''
done
say "Ctrl-C ends them"

if [[ $walk == yes ]]; then release; fi
SECONDS=0

look
while ((${#living[@]})) && [[ $stopping == no ]] && ! is_over; do
	follow
	look
done

# Those that live now survived.
stopping=yes
end_all
if [[ $answers == yes ]]; then
	for pid in "${pids[@]}"; do
		if [[ ${fate_of[$pid]} =~ ^was\ killed\ by\ SIG(TERM|KILL)$ ]]; then
			say "why ${name_of[$pid]} was killed, according to user-oom:"
			tell_why "$pid"
		fi
	done
fi
row PID NAME VALUE 'IN THE END'
for pid in "${pids[@]}"; do
	row "$pid" "${name_of[$pid]}" "${value_of[$pid]-none}" "${fate_of[$pid]}"
done
if [[ $walk == yes || -n $memory ]]; then
	if ! as_promised; then
		say 'not as promised: test_proc2 alone should have been killed'
		exit 1
	fi
	say 'as promised: test_proc2 alone was killed'
fi
