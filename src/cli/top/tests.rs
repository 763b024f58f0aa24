//! The view without a terminal and without a daemon: what it looks like, and what keys do.

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyModifiers};

use ratatui::layout::Size;

use super::super::names::tests::named;
use super::super::status::tests::status;
use super::super::why::tests::case;
use super::asker::{Question, Told};
use super::draw::draw;
use super::view::{After, Dialog, Sort, View};
use crate::control::protocol::{Refusal, Reply, Request, Status};
use crate::report::golden::golden;
use crate::report::screen::Screen;

/// A view that has looked on for a minute, while packets came in a wave.
fn view() -> View {
    let mut view = View::new(Screen::default(), false);
    let begin = Instant::now();
    let mut told = Status { packets: 0, evidence: 0, ..status() };
    for second in 0..60_u64 {
        told.packets += (second % 20) * 10;
        told.evidence += second % 7;
        view.take_status(told.clone(), begin + Duration::from_secs(second));
    }
    view
}

fn shown(view: &View, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, view)).unwrap();
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for row in buffer.content.chunks(usize::from(width)) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn press(view: &mut View, code: KeyCode) -> After {
    view.press(code, KeyModifiers::NONE)
}

fn reply(reply: Reply) -> Told {
    Told::Reply(Box::new(reply), Instant::now())
}

#[test]
fn it_fits_eighty_columns_and_uses_what_there_is_of_two_hundred() {
    golden("top-80x24.txt", &shown(&view(), 80, 24));
    golden("top-200x50.txt", &shown(&view(), 200, 50));
}

#[test]
fn on_a_tiny_terminal_it_does_not_panic() {
    for (width, height) in [(1, 1), (10, 3), (20, 8), (79, 10)] {
        let mut view = view();
        shown(&view, width, height);
        press(&mut view, KeyCode::Char('h'));
        shown(&view, width, height);
    }
}

#[test]
fn a_terminal_that_knows_ascii_alone_gets_that() {
    let mut view = view();
    view.is_plain = true;
    golden("top-ascii-80x24.txt", &shown(&view, 80, 24));
    press(&mut view, KeyCode::Char('h'));
    assert!(shown(&view, 80, 24).is_ascii());
}

#[test]
fn help_stands_before_the_list_and_any_key_closes_it() {
    let mut view = view();
    assert_eq!(press(&mut view, KeyCode::Char('h')), After::Nothing);
    golden("top-help-80x24.txt", &shown(&view, 80, 24));
    press(&mut view, KeyCode::Char('x'));
    assert_eq!(view.dialog, None);
}

#[test]
fn an_explanation_is_scrolled_to_its_end_and_no_further_whatever_the_size() {
    let mut view = view();
    assert_eq!(press(&mut view, KeyCode::Enter), After::Ask(Question::Why("192.0.2.1".parse().unwrap())));
    view.fit(Size::new(80, 14));
    view.take(Told::Case(Box::new(case())));
    golden("top-explanation-80x14.txt", &shown(&view, 80, 14));
    let shows = |view: &View, what: &str| shown(view, 80, 14).contains(what);
    press(&mut view, KeyCode::End);
    assert!(shows(&view, "never acted") && !shows(&view, "is restricted:"), "{}", shown(&view, 80, 14));
    press(&mut view, KeyCode::Down);
    press(&mut view, KeyCode::PageUp);
    press(&mut view, KeyCode::PageUp);
    press(&mut view, KeyCode::Up);
    assert!(shows(&view, "is restricted:"), "{}", shown(&view, 80, 14));
    press(&mut view, KeyCode::End);
    view.fit(Size::new(200, 50));
    let large = shown(&view, 200, 50);
    assert!(large.contains("is restricted:") && large.contains("never acted"), "{large}");
    view.fit(Size::new(3, 2));
    shown(&view, 3, 2);
    press(&mut view, KeyCode::Char('x'));
    assert_eq!(view.dialog, None);
}

#[test]
fn a_case_that_cannot_be_told_is_a_message() {
    let mut view = view();
    view.take(Told::NoCase("the daemon is not running".to_owned()));
    assert_eq!((view.message(), &view.dialog), (Some("the daemon is not running"), &None));
}

#[test]
fn names_come_and_go_with_a_key_and_what_it_is_sorted_by_stays() {
    let mut view = view();
    assert_eq!(view.nameless(), None, "unasked for, nobody is asked");
    press(&mut view, KeyCode::Char('n'));
    assert_eq!(view.nameless().unwrap().len(), 30);
    view.take_names(named(&[("192.0.2.1", "scanner.example.org"), ("192.0.2.2", "a\u{1b}[2J.example")]));
    press(&mut view, KeyCode::Char('s'));
    golden("top-names-80x24.txt", &shown(&view, 80, 24));
    golden("top-names-200x50.txt", &shown(&view, 200, 50));
    press(&mut view, KeyCode::Char('n'));
    assert!(!shown(&view, 200, 50).contains("example"));
    press(&mut view, KeyCode::Char('n'));
    assert!(shown(&view, 200, 50).contains("scanner.example.org"), "what is known is there at once");
}

#[test]
fn the_selection_stays_with_its_source_and_sorting_goes_round() {
    let mut view = view();
    press(&mut view, KeyCode::Down);
    press(&mut view, KeyCode::Down);
    let source = view.offenders()[view.selected().unwrap()].source;
    for _ in 0..5 {
        press(&mut view, KeyCode::Char('s'));
        assert_eq!(view.offenders()[view.selected().unwrap()].source, source, "{:?}", view.sort);
    }
    assert_eq!(view.sort, Sort::Source);
    let sources: Vec<_> = view.offenders().iter().map(|one| one.source.0).collect();
    assert!(sources.is_sorted());
    press(&mut view, KeyCode::Char('s'));
    let weights: Vec<_> = view.offenders().iter().map(|one| one.packets + one.dropped).collect();
    assert!(weights.is_sorted_by(|a, b| a >= b), "{weights:?}");
    press(&mut view, KeyCode::End);
    assert_eq!(view.selected(), Some(29));
    press(&mut view, KeyCode::PageUp);
    assert_eq!(view.selected(), Some(19));
    press(&mut view, KeyCode::Home);
    assert_eq!(view.selected(), Some(0));
}

#[test]
fn nothing_is_banned_or_lifted_without_a_yes() {
    let mut view = view();
    let target = "192.0.2.1".parse().unwrap();
    for no in [KeyCode::Char('n'), KeyCode::Enter, KeyCode::Esc, KeyCode::Char('b')] {
        assert_eq!(press(&mut view, KeyCode::Char('b')), After::Nothing);
        assert!(
            matches!(&view.dialog, Some(Dialog::Confirm { question, .. }) if question.contains("192.0.2.1"))
        );
        assert_eq!(press(&mut view, no), After::Nothing, "{no:?}");
        assert_eq!(view.dialog, None);
    }
    press(&mut view, KeyCode::Char('b'));
    let After::Ask(Question::Of(Request::Ban { target: banned, timeout_s, .. })) =
        press(&mut view, KeyCode::Char('y'))
    else {
        panic!()
    };
    assert_eq!((banned, timeout_s), (target, Some(3600)));
    press(&mut view, KeyCode::Char('u'));
    assert_eq!(press(&mut view, KeyCode::Char('y')), After::Ask(Question::Of(Request::Unban { target })));
    // Number 4 is not banned.
    (0..3).for_each(|_| {
        view.press(KeyCode::Down, KeyModifiers::NONE).eq(&After::Nothing).then_some(()).unwrap()
    });
    press(&mut view, KeyCode::Char('u'));
    assert_eq!((view.message(), &view.dialog), (Some("192.0.2.4 is not banned"), &None));
}

#[test]
fn whoever_may_only_look_is_told_so_in_the_daemons_words() {
    let mut view = view();
    let message = "only root may do that".to_owned();
    view.take(reply(Reply::Refused { refusal: Refusal::NoPermission, message: message.clone() }));
    assert_eq!(view.message(), Some(message.as_str()));
    assert!(shown(&view, 80, 24).contains(&message));
}

#[test]
fn a_daemon_that_goes_away_is_told_and_so_is_that_it_is_back() {
    let mut view = view();
    view.take(Told::Trouble("the daemon is not running: nobody listens on /run/x\u{1b}[2J".to_owned()));
    let away = shown(&view, 80, 24);
    assert!(away.contains("NO ANSWER: the daemon is not running") && !away.contains('\u{1b}'), "{away}");
    assert!(away.contains("192.0.2.1 "), "what was known stays\n{away}");
    // Another process, which counts from nothing: no rate is made of that.
    let before = view.rates.packets.len();
    view.take(reply(Reply::Status(Box::new(Status { pid: 1, packets: 7, ..status() }))));
    assert_eq!(view.rates.packets.len(), before);
    let back = shown(&view, 80, 24);
    assert!(back.contains("the daemon answers again") && !back.contains("NO ANSWER"), "{back}");
}

#[test]
fn quitting_is_a_key_of_several() {
    for code in [KeyCode::Char('q'), KeyCode::Esc] {
        assert_eq!(press(&mut view(), code), After::Quit);
    }
    let mut asked = view();
    press(&mut asked, KeyCode::Char('b'));
    assert_eq!(asked.press(KeyCode::Char('c'), KeyModifiers::CONTROL), After::Quit, "before any question");
}
