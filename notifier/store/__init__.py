"""
All SQL of the notifier, a module per table family. Every key begins with the tenant.

    recipients.py     recipients and their subscriptions
    templates.py      templates and their versions
    notifications.py  accept, read, cancel
    planning.py       audiences in, deliveries out
    deliveries.py     claim, record, resolve
    upkeep.py         due retries, leases that ran out, depth, old rows
    inbox.py          inboxes read, messages marked
    placing.py        messages put into inboxes
    steps.py          what attempts made of deliveries, written
    lost.py           lost connections as `Unavailable`
    rows.py           rows to the model and back
"""
