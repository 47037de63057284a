import asyncio
import json
from email import message_from_bytes, policy
from email.message import EmailMessage

import aiosmtplib
import pytest

from meshctl.demo.mailsink import maildir_folder, serve
from meshctl.demo.settings import MailsinkSettings
from meshkit.serving import ListenFailed


def mail(number=1):
    message = EmailMessage()
    message["From"] = "flights@nyc.example.com"
    message["To"] = "p1@example.org"
    message["Subject"] = f"Vol retardé n° {number}"
    message.set_content("Nouveau départ à 11 h 40.")
    return message


async def send(ca, port, *messages, as_service="notifier"):
    context = ca.workload(as_service).client_ssl_context("mailsink")
    async with aiosmtplib.SMTP(
        hostname="127.0.0.1", port=port, use_tls=True, tls_context=context, timeout=10
    ) as client:
        return [await client.send_message(message) for message in messages]


@pytest.fixture
async def sink(ca, tmp_path, run_serve):
    settings = MailsinkSettings(state_dir=tmp_path, mails_max=3, connections_max=2)
    async with run_serve(serve, settings, workload=ca.workload("mailsink")) as port:
        yield port


def kept(folder):
    return sorted((maildir_folder(folder) / "new").iterdir())


async def test_an_accepted_mail_stands_in_the_maildir(ca, sink, tmp_path):
    [(_, answer)] = await send(ca, sink, mail())

    [path] = kept(tmp_path)
    found = message_from_bytes(path.read_bytes(), policy=policy.default)
    assert path.name in answer
    assert found["Subject"] == "Vol retardé n° 1"
    assert found["Delivered-To"] == "p1@example.org"
    assert found["Return-Path"] == "<flights@nyc.example.com>"


async def test_only_the_newest_mails_are_kept(ca, sink, tmp_path):
    await send(ca, sink, *(mail(number) for number in range(1, 6)))

    found = [message_from_bytes(one.read_bytes(), policy=policy.default) for one in kept(tmp_path)]

    assert [mail["Subject"][-1] for mail in found] == ["3", "4", "5"]


async def test_nobody_but_the_notifier_and_telemetry_may_hand_in_mail(ca, sink, tmp_path):
    with pytest.raises(aiosmtplib.SMTPConnectError, match="may not send mail here") as refused:
        await send(ca, sink, mail(), as_service="flightinfo")

    assert refused.value.code == 554
    assert kept(tmp_path) == []


async def test_a_connection_beyond_the_bound_is_told_to_come_back(ca, sink):
    context = ca.workload("notifier").client_ssl_context("mailsink")
    connections = [await asyncio.open_connection("127.0.0.1", sink, ssl=context) for _ in range(3)]
    greetings = [(await reader.readline())[:3] for reader, _ in connections]
    for _, writer in connections:
        writer.close()

    assert greetings == [b"220", b"220", b"421"]


async def test_what_was_kept_is_still_there_after_a_restart(ca, tmp_path, run_serve):
    settings = MailsinkSettings(state_dir=tmp_path, mails_max=3)
    for _ in range(2):
        async with run_serve(serve, settings, workload=ca.workload("mailsink")) as port:
            await send(ca, port, mail(), mail())

    assert len(kept(tmp_path)) == 3


async def test_mails_are_counted_for_the_status(ca, tmp_path, run_serve):
    settings = MailsinkSettings(state_dir=tmp_path)
    async with run_serve(serve, settings, workload=ca.workload("mailsink")) as port:
        await send(ca, port, mail())

    told = json.loads((tmp_path / "counts.json").read_text())
    assert told["part"] == "mailsink"
    assert told["counts"]["mails"] == 1
    assert told["facts"] == {"kept": 1, "connections": 0}


async def test_a_taken_port_is_told_as_such(ca, sink, tmp_path):
    settings = MailsinkSettings(state_dir=tmp_path / "other", listen=f"127.0.0.1:{sink}")

    with pytest.raises(BaseExceptionGroup) as failed:
        await serve(settings, stop=asyncio.Event(), workload=ca.workload("mailsink"))

    assert failed.group_contains(ListenFailed, match=f"cannot listen on 127.0.0.1:{sink}")
