//! What is tried, each on which machine.
//!
//! The host reads [`ALL`] to boot the right machines; the guest runs the
//! functions. A scenario passes by returning `Ok`, and has to leave the
//! machine as it found it: others of the same boot come after.

mod aligning;
mod answers;
mod confined;
mod daemon;
mod faults;
mod file;
mod freeing;
mod groups;
pub(crate) mod package;
mod pausing;
mod recipes;
mod rules;
mod scopes;
mod service;
mod together;
mod walkthrough;

use std::time::Duration;

use anyhow::Result;

use crate::guest::Report;

/// A Debian on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Debian {
    /// With the packages of the machine-learning jobs, to run programs in.
    Jobs,
    /// With systemd, which runs as the machine's init.
    System,
    /// With the contestants of the arena.
    Arena,
    /// The same, with systemd as the machine's init.
    ArenaSystem,
    /// With them and Ray.
    ArenaRay,
}

/// The machine that a scenario wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Memory in MiB.
    pub memory_mebibytes: u32,
    /// A virtio disk, `/dev/vda`, of so many MiB.
    pub disk_mebibytes: Option<u32>,
    /// Another of so many MiB after it.
    pub second_disk_mebibytes: Option<u32>,
    /// How fast each is, in MiB/s, if it is not as fast as it can be.
    pub disk_mib_s: Option<u32>,
    /// `/dev/vda` is a Debian; disks beside it are `/dev/vdb` and so on. What is written to
    /// it is gone with the machine.
    pub debian: Option<Debian>,
    /// Words for the kernel's command line.
    pub parameters: &'static str,
    /// NUMA nodes, which share the memory evenly; each has one of the CPUs.
    pub nodes: u32,
    /// MiB of memory that the kernel finds beside what it has booted with.
    pub added_mebibytes: u32,
    /// What listens to the daemon is there too: `user-oomctl`, and a program of GLib's.
    pub listeners: bool,
    /// Debian's package is in [`package::DIRECTORY`], as `cargo xtask dist` made it, and
    /// no program or unit of ours is installed.
    pub packaged: bool,
}

/// 512 MiB, two CPUs, no disk, no swap.
pub const SMALL: Machine = Machine {
    memory_mebibytes: 512,
    disk_mebibytes: None,
    second_disk_mebibytes: None,
    disk_mib_s: None,
    debian: None,
    parameters: "",
    nodes: 1,
    added_mebibytes: 0,
    listeners: false,
    packaged: false,
};

/// With one processor in use.
pub const ONE_PROCESSOR: Machine = Machine {
    parameters: "maxcpus=1",
    ..SMALL
};

/// With memory that can be taken away, in one block. Some kernels use it as soon as
/// they find it, and cannot let go of it any more.
pub const ADDED: Machine = Machine {
    added_mebibytes: 128,
    parameters: "memhp_default_state=offline",
    ..SMALL
};

/// 2.5 GiB.
pub const LARGE: Machine = Machine {
    memory_mebibytes: 2560,
    ..SMALL
};

/// A kernel that believes that it has been started to save another's memory.
pub const CRASH: Machine = Machine {
    parameters: "elfcorehdr=0x1000",
    ..SMALL
};

/// The same with a disk.
pub const WITH_DISK: Machine = Machine {
    disk_mebibytes: Some(1024),
    ..SMALL
};

/// A little less than 1 GiB, with Debian.
pub const WALKTHROUGH: Machine = Machine {
    memory_mebibytes: 992,
    debian: Some(Debian::Jobs),
    ..SMALL
};

/// 1.5 GiB with Debian.
pub const ROOMY: Machine = Machine {
    memory_mebibytes: 1536,
    ..WALKTHROUGH
};

/// 1 GiB.
pub const MEDIUM: Machine = Machine {
    memory_mebibytes: 1024,
    ..SMALL
};

/// 768 MiB, where systemd runs.
pub const SYSTEM: Machine = Machine {
    memory_mebibytes: 768,
    debian: Some(Debian::System),
    ..SMALL
};

/// The same with what listens to the daemon.
pub const LISTENING: Machine = Machine {
    listeners: true,
    ..SYSTEM
};

/// Without anything of ours, but for the package: its scenarios run where they are named.
pub const PACKAGED: Machine = Machine {
    packaged: true,
    ..SYSTEM
};

/// Two nodes of 256 MiB.
pub const TWO_NODES: Machine = Machine { nodes: 2, ..SMALL };

impl Machine {
    /// Twice the memory, which KASAN takes a part of, and two nodes.
    #[must_use]
    pub fn for_a_debug_kernel(self) -> Self {
        Self {
            memory_mebibytes: 2 * self.memory_mebibytes,
            nodes: 2,
            ..self
        }
    }
}

/// What is tried.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// The function's name: a sentence.
    pub name: &'static str,
    /// The module that it is in.
    pub room: &'static str,
    /// Where it is tried.
    pub machine: Machine,
    /// Whether it has the machine for itself: it is brought to its knees.
    pub alone: bool,
    /// Whether it runs on every kernel, rather than on the first alone.
    pub everywhere: bool,
    /// Whether it runs on the oldest kernel too, which the module is not for.
    pub oldest: bool,
    /// Whether it is of no use on a kernel that looks for mistakes.
    pub stock: bool,
    /// Whether it runs on such a kernel alone, which it has make mistakes.
    pub faults: bool,
    /// Whether it runs only where it is named, or with `--full`.
    pub long: bool,
    /// In which it has to end, on a busy machine.
    pub limit: Duration,
    /// The scenario itself.
    pub run: fn(&mut Report) -> Result<()>,
}

impl Scenario {
    /// Whether it is about the kernel's module, rather than the daemon.
    #[must_use]
    pub fn is_of_the_module(&self) -> bool {
        ["file", "answers", "rules", "faults"].contains(&self.room)
    }
}

/// Lets the table name a scenario once.
macro_rules! scenario {
    ($room:ident :: $name:ident, $machine:expr $(, $flag:ident)*) => {{
        #[allow(unused_mut, reason = "without a flag nothing is changed")]
        let mut scenario = Scenario {
            name: stringify!($name),
            room: stringify!($room),
            machine: $machine,
            alone: false,
            everywhere: false,
            oldest: false,
            stock: false,
            faults: false,
            long: false,
            limit: Duration::from_secs(120),
            run: $room::$name,
        };
        $(scenario.$flag = true;)*
        scenario
    }};
}

/// All of them.
pub const ALL: &[Scenario] = &[
    scenario!(file::the_module_says_what_meminfo_says, SMALL, everywhere),
    scenario!(file::nonsense_is_refused, SMALL),
    scenario!(file::only_one_may_listen, SMALL, everywhere),
    scenario!(
        file::root_without_the_capability_may_not_listen,
        SMALL,
        everywhere
    ),
    scenario!(file::others_do_not_keep_the_module, SMALL),
    scenario!(file::a_change_of_level_wakes_poll, SMALL, everywhere),
    scenario!(file::loads_and_unloads_a_hundred_times_under_load, SMALL),
    scenario!(file::an_idle_machine_is_left_alone, SMALL, stock),
    scenario!(file::a_crash_kernel_does_not_load_it, CRASH, alone, stock),
    scenario!(file::the_level_counts_swap, WITH_DISK),
    scenario!(file::what_it_cannot_read_it_does_not_say, WITH_DISK),
    scenario!(faults::what_opening_takes_may_fail, SMALL, alone, faults),
    scenario!(faults::what_loading_takes_may_fail, SMALL, alone, faults),
    scenario!(
        answers::the_kernel_asks_and_kills_nothing,
        SMALL,
        alone,
        everywhere
    ),
    scenario!(
        answers::the_kernel_asks_with_no_reserve_at_all,
        SMALL,
        alone
    ),
    scenario!(
        answers::without_the_module_the_kernel_kills,
        SMALL,
        alone,
        everywhere
    ),
    scenario!(
        answers::without_a_listener_the_kernel_kills_at_once,
        SMALL,
        alone
    ),
    scenario!(
        answers::memory_that_comes_back_unanswered_counts,
        SMALL,
        alone
    ),
    scenario!(answers::two_bombs_at_once, SMALL, alone, everywhere),
    scenario!(answers::a_forking_process_can_be_killed, SMALL, alone),
    scenario!(
        answers::writers_to_a_filesystem_do_not_lock_up,
        WITH_DISK,
        alone
    ),
    scenario!(answers::a_silent_listener_is_waited_for_once, SMALL, alone),
    scenario!(
        answers::a_listener_that_only_reads_costs_the_grace,
        SMALL,
        alone
    ),
    scenario!(
        answers::a_false_promise_is_believed_a_few_times,
        SMALL,
        alone
    ),
    scenario!(answers::a_stopped_listener_is_waited_for_once, SMALL, alone),
    scenario!(
        answers::a_call_that_is_soon_over_may_be_left_unread,
        SMALL,
        alone
    ),
    scenario!(answers::an_exit_in_the_call_ends_the_wait, SMALL, alone),
    scenario!(
        answers::a_kill_in_the_call_ends_the_wait,
        SMALL,
        alone,
        everywhere
    ),
    scenario!(answers::sysrq_is_not_waited_for, SMALL, alone),
    scenario!(
        answers::a_bound_allocation_is_not_waited_for,
        TWO_NODES,
        alone
    ),
    scenario!(
        answers::a_bound_allocation_waits_for_the_victim_of_a_call,
        TWO_NODES,
        alone
    ),
    scenario!(
        answers::a_cgroup_is_left_to_the_kernel,
        SMALL,
        alone,
        everywhere
    ),
    scenario!(answers::rmmod_in_the_call_is_refused, SMALL, alone),
    scenario!(
        rules::a_victim_that_needs_a_page_is_not_held_up,
        SMALL,
        alone,
        everywhere
    ),
    scenario!(
        rules::a_victim_is_not_held_up_once_the_reserve_is_gone,
        SMALL,
        alone,
        everywhere
    ),
    scenario!(rules::a_cgroup_does_not_wait_for_the_call, SMALL, alone),
    scenario!(
        rules::the_kernels_own_victim_is_awaited,
        WITH_DISK,
        alone,
        everywhere
    ),
    scenario!(rules::a_filesystems_allocation_kills_nothing, SMALL, alone),
    scenario!(
        rules::a_thread_that_exec_kills_costs_one_victim,
        SMALL,
        alone
    ),
    scenario!(
        rules::a_process_that_shares_its_memory_costs_one_victim,
        SMALL,
        alone
    ),
    scenario!(
        rules::one_bound_to_a_node_is_left_to_the_kernel,
        TWO_NODES,
        alone
    ),
    scenario!(
        rules::one_bound_by_its_policy_is_left_to_the_kernel,
        TWO_NODES,
        alone
    ),
    scenario!(
        rules::memory_that_others_free_is_believed_a_few_times,
        SMALL,
        alone
    ),
    scenario!(
        rules::claims_that_come_too_late_do_not_keep_the_kernel_from_killing,
        Machine {
            parameters: ONE_PROCESSOR.parameters,
            ..TWO_NODES
        },
        alone
    ),
    scenario!(rules::a_new_shortage_is_asked_about_anew, SMALL, alone),
    scenario!(
        rules::the_kernel_kills_nothing_with_the_reserve_free,
        SMALL,
        alone,
        everywhere
    ),
    scenario!(
        rules::the_reserve_is_filled_while_memory_is_low,
        SMALL,
        alone
    ),
    scenario!(rules::a_late_answer_is_told_that_it_is_late, SMALL, alone),
    scenario!(rules::no_is_an_answer, SMALL, alone),
    scenario!(rules::no_procfs_is_pinned, SMALL, alone),
    scenario!(rules::the_log_is_not_flooded, SMALL, alone),
    scenario!(rules::suspend_does_not_wait_for_the_call, SMALL, alone),
    scenario!(rules::pressure_counts_the_wait, ONE_PROCESSOR, alone, stock),
    scenario!(
        rules::memory_with_the_reserve_is_not_taken_away,
        ADDED,
        alone,
        stock
    ),
    minutes(
        20,
        scenario!(
            rules::twenty_mixes_cost_nothing_more,
            WITH_DISK,
            alone,
            long
        ),
    ),
    minutes(
        10,
        scenario!(rules::fifty_bombs_and_no_kernel_kill, SMALL, alone, long),
    ),
    minutes(
        10,
        scenario!(rules::fifty_bombs_without_a_reserve, SMALL, alone, long),
    ),
    scenario!(
        daemon::the_steady_outlive_the_growing,
        SMALL,
        alone,
        everywhere,
        oldest
    ),
    scenario!(
        daemon::with_the_module_the_steady_live_too,
        SMALL,
        alone,
        everywhere
    ),
    scenario!(
        daemon::with_swap_on_a_disk_the_steady_live_too,
        WITH_DISK,
        alone,
        oldest
    ),
    scenario!(daemon::with_swap_in_zram_the_steady_live_too, SMALL, alone),
    minutes(
        5,
        scenario!(
            freeing::ten_large_victims_are_signalled_at_once,
            LARGE,
            alone
        ),
    ),
    minutes(
        5,
        scenario!(freeing::what_comes_back_is_what_was_planned, SYSTEM, alone),
    ),
    scenario!(
        together::processes_with_one_memory_go_together,
        SYSTEM,
        alone
    ),
    scenario!(
        groups::a_worker_that_comes_back_goes_with_its_shell,
        SMALL,
        alone
    ),
    scenario!(
        daemon::a_bomb_and_the_daemon_without_the_module,
        SMALL,
        alone,
        oldest
    ),
    minutes(
        5,
        scenario!(
            aligning::the_kernel_kills_what_the_stopped_daemon_would_have,
            SMALL,
            alone,
            oldest
        ),
    ),
    minutes(
        15,
        scenario!(
            aligning::of_twenty_bombs_each_kills_the_least_valuable,
            SMALL,
            alone,
            long
        ),
    ),
    scenario!(
        aligning::what_was_raised_is_as_it_was_when_memory_is_back,
        SMALL,
        alone
    ),
    scenario!(
        daemon::pressure_makes_the_monitor_ask_and_the_daemon_relieve,
        WITH_DISK,
        alone,
        oldest
    ),
    minutes(
        5,
        scenario!(
            pausing::of_two_that_thrash_one_waits_for_the_other,
            WITH_DISK,
            alone,
            oldest
        ),
    ),
    minutes(
        5,
        scenario!(
            pausing::a_paused_one_that_is_worth_more_later_goes_on,
            WITH_DISK,
            alone
        ),
    ),
    minutes(
        5,
        scenario!(pausing::a_database_works_on_beside_a_leak, WITH_DISK, alone),
    ),
    minutes(
        5,
        scenario!(
            pausing::with_swap_in_zram_a_database_works_on,
            WITH_DISK,
            alone
        ),
    ),
    minutes(
        5,
        scenario!(
            pausing::where_swap_is_full_the_leak_is_killed,
            WITH_DISK,
            alone
        ),
    ),
    minutes(
        5,
        scenario!(
            pausing::a_tree_is_stopped_with_the_children_that_appear,
            WITH_DISK,
            alone
        ),
    ),
    minutes(
        5,
        scenario!(
            pausing::a_service_with_a_watchdog_is_never_paused,
            WITH_DISK,
            alone
        ),
    ),
    minutes(
        5,
        scenario!(
            pausing::a_cgroup_of_its_own_is_frozen_and_reclaimed,
            WITH_DISK,
            alone,
            oldest
        ),
    ),
    minutes(
        5,
        scenario!(pausing::those_that_grow_are_paused, WITH_DISK, alone),
    ),
    minutes(
        5,
        scenario!(
            pausing::with_swap_in_zram_those_that_grow_are_paused,
            WITH_DISK,
            alone
        ),
    ),
    minutes(
        5,
        scenario!(
            pausing::a_bomb_is_killed_though_swap_has_room,
            WITH_DISK,
            alone
        ),
    ),
    minutes(
        5,
        scenario!(
            pausing::a_paused_bomb_is_the_first_to_be_killed,
            WITH_DISK,
            alone
        ),
    ),
    minutes(
        5,
        scenario!(
            pausing::a_build_of_many_processes_is_done_beside_an_editor,
            WITH_DISK,
            alone
        ),
    ),
    minutes(
        15,
        scenario!(
            pausing::two_jobs_of_65_percent_are_done_in_turn,
            WITH_DISK,
            alone,
            long
        ),
    ),
    minutes(
        20,
        scenario!(
            pausing::three_jobs_of_45_percent_are_done_in_turn,
            WITH_DISK,
            alone,
            long
        ),
    ),
    scenario!(
        daemon::two_hundred_processes_come_and_go,
        SMALL,
        alone,
        oldest
    ),
    scenario!(
        daemon::the_daemon_leaves_a_cgroup_to_the_kernel,
        SMALL,
        alone,
        oldest
    ),
    minutes(
        4,
        scenario!(
            scopes::two_that_are_short_at_once_lose_the_least,
            MEDIUM,
            alone
        ),
    ),
    minutes(
        4,
        scenario!(
            scopes::of_nested_ones_that_which_is_short_pays,
            MEDIUM,
            alone
        ),
    ),
    minutes(
        4,
        scenario!(
            scopes::what_another_scope_froze_saves_its_work,
            WITH_DISK,
            alone
        ),
    ),
    minutes(
        5,
        scenario!(
            scopes::of_twenty_bombs_the_kernel_kills_none,
            Machine {
                parameters: ONE_PROCESSOR.parameters,
                ..MEDIUM
            },
            alone
        ),
    ),
    minutes(
        5,
        scenario!(
            scopes::a_user_walks_in_a_scope_of_her_own,
            Machine {
                memory_mebibytes: 1024,
                ..LISTENING
            },
            alone
        ),
    ),
    minutes(
        5,
        scenario!(
            scopes::nor_does_it_where_bombs_are_slowed_down,
            MEDIUM,
            alone
        ),
    ),
    scenario!(daemon::the_daemon_is_never_the_victim, SMALL, alone),
    scenario!(
        daemon::a_bomb_and_the_daemon_with_the_module,
        SMALL,
        alone,
        everywhere
    ),
    scenario!(
        daemon::the_daemon_answers_the_last_call,
        WITH_DISK,
        alone,
        everywhere
    ),
    scenario!(
        daemon::the_daemon_answers_the_last_call_without_a_reserve,
        WITH_DISK,
        alone
    ),
    scenario!(
        daemon::the_daemon_is_killed_while_it_holds_the_last_call,
        SMALL,
        alone
    ),
    scenario!(
        daemon::the_daemon_listens_once_another_has_ended,
        SMALL,
        alone
    ),
    scenario!(
        daemon::the_daemon_listens_once_the_module_is_loaded,
        SMALL,
        alone
    ),
    scenario!(
        together::a_job_on_a_terminal_keeps_what_holds_it_alive,
        SMALL,
        alone
    ),
    minutes(
        5,
        scenario!(
            groups::three_hundred_sessions_go_before_two_jobs,
            MEDIUM,
            alone
        ),
    ),
    minutes(
        5,
        scenario!(groups::of_twenty_agents_one_tool_goes, SYSTEM, alone),
    ),
    minutes(
        5,
        scenario!(
            groups::of_roots_containers_the_worthless_goes,
            SYSTEM,
            alone
        ),
    ),
    minutes(
        5,
        scenario!(
            groups::of_a_users_containers_the_worthless_goes,
            SYSTEM,
            alone
        ),
    ),
    minutes(
        5,
        scenario!(service::the_shipped_unit_guards, SYSTEM, alone),
    ),
    minutes(
        5,
        scenario!(
            confined::a_user_registers_with_no_more_rights_than_its_own,
            LISTENING,
            alone
        ),
    ),
    minutes(
        5,
        scenario!(
            confined::what_a_user_put_in_the_registrys_place_leads_nowhere,
            LISTENING,
            alone
        ),
    ),
    minutes(
        5,
        scenario!(service::a_label_gives_a_container_a_value, SYSTEM, alone),
    ),
    minutes(
        5,
        scenario!(
            recipes::recipes_give_the_values_they_promise,
            LISTENING,
            alone
        ),
    ),
    minutes(
        5,
        scenario!(
            service::restarted_while_a_victim_is_pending_it_kills_that_and_no_other,
            SYSTEM,
            alone
        ),
    ),
    minutes(
        5,
        scenario!(
            service::stopped_while_a_unit_is_frozen_it_lets_it_go,
            SYSTEM,
            alone
        ),
    ),
    minutes(
        5,
        scenario!(service::a_hang_is_seen_by_systemd_and_mended, SYSTEM, alone),
    ),
    minutes(
        5,
        scenario!(
            service::under_the_shipped_unit_the_kernel_asks_before_it_kills,
            SYSTEM,
            alone
        ),
    ),
    minutes(
        5,
        scenario!(
            service::a_program_of_glib_shrinks_and_nothing_is_killed,
            LISTENING,
            alone
        ),
    ),
    minutes(
        15,
        scenario!(
            package::a_new_user_installs_it_and_reads_what_happened,
            PACKAGED,
            alone
        ),
    ),
    minutes(
        15,
        scenario!(
            package::an_upgrade_keeps_what_was_configured_and_guards,
            PACKAGED,
            alone
        ),
    ),
    minutes(
        25,
        scenario!(walkthrough::one_job_fits_and_lives, WALKTHROUGH, alone),
    ),
    minutes(
        25,
        scenario!(walkthrough::two_jobs_fit_and_live, ROOMY, alone, long),
    ),
    minutes(
        25,
        scenario!(
            walkthrough::a_warned_job_saves_and_resumes,
            WALKTHROUGH,
            alone,
            long
        ),
    ),
];

/// One that takes longer than others, on a busy machine.
const fn minutes(minutes: u64, scenario: Scenario) -> Scenario {
    Scenario {
        limit: Duration::from_secs(60 * minutes),
        ..scenario
    }
}

/// The scenario of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}
