from meshctl.logfiles import Follower, rotate, tail


def test_a_log_that_has_grown_is_moved_and_its_writer_goes_on(tmp_path):
    path = tmp_path / "part.log"
    with path.open("ab") as log:
        log.write(b"old\n" * 100)
        log.flush()
        rotate(tmp_path, bytes_max=300)
        log.write(b"new\n")
        log.flush()

        assert path.read_bytes() == b"new\n"
    assert (tmp_path / "part.log.1").read_bytes() == b"old\n" * 100


def test_a_small_log_stays_as_it_is(tmp_path):
    (tmp_path / "part.log").write_bytes(b"x" * 300)
    rotate(tmp_path, bytes_max=300)

    assert [path.name for path in tmp_path.iterdir()] == ["part.log"]


def test_the_tail_is_whole_lines_and_no_more_than_asked(tmp_path):
    path = tmp_path / "part.log"
    path.write_text("".join(f"line {n}\n" for n in range(10)))

    assert tail(path, 2) == ["line 8", "line 9"]
    assert tail(path, 0) == []
    assert tail(tmp_path / "absent.log", 5) == []


def test_a_follower_gives_whole_lines_once_and_starts_over_when_the_file_was_emptied(tmp_path):
    path = tmp_path / "part.log"
    path.write_text("before\n")
    follower = Follower(path)
    with path.open("a") as log:
        log.write("one\ntw")
        log.flush()
        first = list(follower.new_lines())
        log.write("o\n")
        log.flush()
        second = list(follower.new_lines())
    path.write_text("3\n")

    assert first == ["one"]
    assert second == ["two"]
    assert list(follower.new_lines()) == ["3"]
