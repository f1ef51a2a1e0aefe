"""A real SMTP server (aiosmtpd) on a free loopback port, for test_mail.

Prints its port, then a JSON object a line for each thing that happens:
{"rcpt": ADDRESS, "answer": "250 OK"} and
{"from": ..., "to": [...], "content": ..., "user": ..., "tls": true}.
With its own process, since it may need another Python than the tests.
"""

import argparse
import asyncio
import json
import socket
import ssl

from aiosmtpd.smtp import SMTP, AuthResult


def tell(event):
    print(json.dumps(event), flush=True)


class Handler:
    def __init__(self, refusals):
        # Address -> answers it gets before it is accepted.
        self._refusals = refusals

    async def handle_RCPT(self, server, session, envelope, address, options):
        waiting = self._refusals.get(address, [])
        answer = waiting.pop(0) if waiting else "250 OK"
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        tell({"rcpt": address, "answer": answer})
        return answer

    async def handle_DATA(self, server, session, envelope):
        tell({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "content": envelope.content.decode("latin-1"),
            "user": session.auth_data.decode() if session.auth_data else "",
            "tls": session.ssl is not None,
        })
        return "250 OK"


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--refuse", nargs=2, action="append", default=[],
                        metavar=("ADDRESS", "ANSWER"))
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--login", nargs=2, metavar=("USER", "PASSWORD"))
    arguments = parser.parse_args()

    refusals = {}
    for address, answer in arguments.refuse:
        refusals.setdefault(address, []).append(answer)

    def check(server, session, envelope, mechanism, data):
        user, password = data.login.decode(), data.password.decode()
        good = [user, password] == arguments.login
        # Not "handled": aiosmtpd says itself that it is refused.
        return AuthResult(success=good, handled=good, auth_data=user.encode())

    options = {"hostname": "mail.example.org"}
    if arguments.certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(arguments.certificate, arguments.key)
        options["tls_context"] = tls
    if arguments.login:
        options.update(authenticator=check, auth_required=True,
                       auth_require_tls=bool(arguments.certificate))
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(Handler(refusals), **options), sock=listening
    )
    await server.serve_forever()


asyncio.run(main())
