"""A lean HTTP/1.1 client: one protocol object a connection, the parser in C, and nothing else on the way of a call.

wire.py        what goes out: addresses, request lines, header lines
answer.py      what comes back, as its reader sees it
decoding.py    gzip and deflate, let out piece by piece
connection.py  one connection: one request at a time, and what may follow it
dial.py        how a connection is made
seats.py       how many there may be, and who is next
pool.py        who owns which connection
transport.py   the same pool under httpx
"""
