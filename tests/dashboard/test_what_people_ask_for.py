"""What people ask for in dashboards of workflows, most wanted first, and the tests that show it here."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

ASKED = {
    1: "A big session must not freeze the page.",
    2: "What I see must be current, everywhere, without F5.",
    3: "Pause must really pause; resume must really resume.",
    4: "Go back, branch, compare.",
    5: "Who did that? Stop people doing that.",
    6: "Bulk actions that respect the filter.",
    7: "Show the graph that happened, not the one declared.",
    8: "Do not let polling hurt production.",
    9: "Keep my place.",
    10: "Storage must not grow for ever.",
    11: "Work without the vendor's cloud.",
    12: "Read the conversation, not spans.",
    13: "Tell state apart without colour.",
    14: "Answer once, edit, retry the answer.",
    15: "Hide what is finished; show what is pending.",
    16: "No accidental destructive keys or clicks.",
    17: "Survive closing the tab.",
}

SHOWN_BY = {
    1: """
        e2e/test_large.py::test_the_page_of_a_large_session_stays_small_whatever_is_looked_at
        e2e/test_charts_browser.py::test_two_thousand_branches_and_twenty_thousand_steps_are_a_bounded_picture
        dashboard/test_charts.py::test_five_thousand_branches_are_laid_out_within_three_seconds
        dashboard/test_charts.py::test_no_content_of_the_session_is_in_the_picture
    """,
    2: """
        e2e/test_trust.py::test_list_head_graph_timeline_steps_and_admin_say_the_same
        e2e/test_main_job.py::test_steps_are_on_both_pages_within_a_second
        e2e/test_live.py::test_after_ten_seconds_off_the_line_everything_is_there_once_and_in_order
        e2e/test_trust.py::test_the_badge_tells_when_something_was_last_applied
    """,
    3: """
        e2e/test_main_job.py::test_a_pause_and_a_resume_with_context_reach_the_other_process
        e2e/test_adapters_live.py::test_a_real_marsys_run_pauses_at_its_next_agent_and_goes_on_from_the_browser
        dashboard/test_frames.py::test_pausing_counts_the_branches_that_are_in_a_step_since_the_longest_began
        dashboard/pages/test_actions.py::test_of_two_resumes_at_once_exactly_one_wins
    """,
    4: """
        e2e/test_travel.py::test_what_is_looked_at_stays_while_the_session_goes_on
        e2e/test_travel.py::test_going_back_says_what_it_does_and_is_undone
        e2e/test_travel.py::test_a_fork_from_the_past_is_a_session_of_its_own_in_the_family
        e2e/test_travel.py::test_two_checkpoints_are_compared_and_downloaded
        e2e/across_stores/test_compare.py::test_a_fork_is_compared_with_where_it_comes_from_and_with_another_fork
    """,
    5: """
        e2e/across_stores/test_activity.py::test_what_people_and_programs_do_appears_while_it_is_looked_at_and_is_filtered
        dashboard/pages/test_actions.py::test_an_act_needs_its_permission
        e2e/test_live.py::test_who_may_only_look_is_offered_nothing_else
        admin/test_acting.py::test_a_viewer_is_not_offered_acts_and_cannot_force_them
    """,
    6: """
        e2e/across_stores/test_bulk.py::test_all_that_match_are_deleted_once_their_number_is_typed
        e2e/across_stores/test_bulk.py::test_rows_of_two_stores_are_selected_with_keys_and_a_range_and_paused_together
        dashboard/pages/test_jobs.py::test_all_that_match_a_filter_are_acted_on_beyond_the_page
        dashboard/pages/test_jobs.py::test_a_destructive_job_is_refused_when_more_match_than_was_confirmed
    """,
    7: """
        e2e/test_charts_browser.py::test_an_open_join_says_whom_it_waits_for
        e2e/test_flags.py::test_what_goes_in_circles_is_flagged_while_it_happens
        dashboard/test_charts.py::test_every_parent_of_a_join_has_its_edge
        dashboard/test_charts.py::test_many_siblings_with_the_same_neighbours_are_one_box
    """,
    8: """
        dashboard/test_feed.py::test_the_feeds_cost_grows_with_what_is_watched_not_with_what_exists
        dashboard/test_feed.py::test_the_last_watcher_stops_the_feed
        dashboard/test_consumers.py::test_a_slow_browser_costs_bounded_memory_and_catches_up
        e2e/test_live.py::test_a_hidden_tab_idles_and_catches_up_when_somebody_looks
        e2e/test_live.py::test_a_frozen_page_stands_still_and_catches_up
    """,
    9: """
        e2e/test_live.py::test_selection_scroll_and_focus_survive_what_happens
        e2e/test_charts_browser.py::test_zoom_and_selection_survive_live_frames_and_new_branches
        e2e/test_list_and_acts.py::test_typing_filters_and_the_address_is_the_state
        e2e/test_live.py::test_what_the_address_selects_is_there_when_the_page_opens
    """,
    10: """
        dashboard/pages/test_jobs.py::test_a_clean_up_shows_its_plan_asks_for_the_number_and_deletes
        dashboard/pages/test_jobs.py::test_a_clean_up_says_what_compacting_would_free_and_frees_it
        core/test_retention.py::test_old_history_of_sessions_that_ended_is_compacted
    """,
    11: """
        e2e/test_accessibility.py::test_no_page_asks_another_server_for_anything
    """,
    12: """
        e2e/test_travel.py::test_a_long_conversation_is_read_in_both_directions_in_a_page_that_stays_small
        e2e/test_travel.py::test_a_search_leads_to_the_message_and_to_the_step
        dashboard/test_session_page.py::test_the_conversation_of_one_agent_can_be_asked_for
    """,
    13: """
        dashboard/test_palette.py::test_no_two_statuses_look_alike_to_anybody
        dashboard/pages/test_list.py::test_a_status_is_always_icon_word_and_colour
        e2e/test_charts_browser.py::test_status_is_told_by_icon_and_word_besides_colour
        admin/test_reading.py::test_a_status_is_shown_by_icon_and_word
    """,
    14: """
        e2e/across_stores/test_needs.py::test_questions_of_two_stores_appear_live_and_are_answered_in_place
        e2e/across_stores/test_needs.py::test_of_two_people_who_answer_the_second_is_told_who_was_first
        e2e/across_stores/test_needs.py::test_a_wrong_answer_is_taken_back_by_going_back_and_the_question_is_asked_again
        dashboard/pages/test_actions.py::test_an_answer_that_does_not_fit_is_refused_and_the_question_stays
    """,
    15: """
        e2e/test_charts_browser.py::test_active_only_leaves_finished_branches_out_of_the_timeline
        e2e/test_charts_browser.py::test_a_key_shows_what_is_active_and_another_lists_them_all
        e2e/test_list_and_acts.py::test_a_key_hides_what_has_ended_and_the_count_follows
        e2e/test_live.py::test_a_switch_leaves_steps_under_way_alone_in_the_list_while_others_end
    """,
    16: """
        e2e/test_list_and_acts.py::test_keys_open_dialogs_and_escape_leaves_all_as_it_is
        e2e/test_list_and_acts.py::test_a_double_click_acts_once
        dashboard/pages/test_actions.py::test_delete_needs_the_name_typed
        dashboard/pages/test_actions.py::test_what_undoes_work_needs_a_reason
    """,
    17: """
        e2e/test_live.py::test_closing_the_browser_changes_nothing_of_a_run
        e2e/across_stores/test_bulk.py::test_a_job_goes_on_without_the_browser_and_is_continued_after_the_server_was_killed
    """,
}  # fmt: skip
"""The file, below ``tests/``, and the test."""


@cache
def named_in(name: str) -> set[str]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.parse((TESTS / name).read_text()).body if isinstance(node, functions)}


@pytest.mark.parametrize("number", ASKED)
def test_each_wish_is_shown_by_tests_that_there_are(number: int) -> None:
    shown = SHOWN_BY[number].split()
    assert shown, ASKED[number]
    for name in shown:
        path, _, test = name.partition("::")
        assert test in named_in(path), f"“{ASKED[number]}” names a test that is gone: {name}"
