"""
Exit codes of `meshctl`, as in sysexits.h where one fits.

     0  done
     1  it failed; the reason and what to try are on stderr
     2  the command line is wrong
     3  `explain`: the request would be refused
     4  `explain`: what would become of the request isn't known
     5  `plan --exit-code`: something would change
    69  no mesh runs on that state folder, or what was called is away
    75  another meshctl runs on that state folder
    78  what was asked for can't be had: a taken port, a setting, a folder
   130  interrupted by Ctrl-C before it was done
"""

OK = 0
FAILED = 1
USAGE = 2
REFUSED = 3
UNKNOWN = 4
DIFFERS = 5
UNAVAILABLE = 69
ALREADY_RUNNING = 75
CONFIG = 78
INTERRUPTED = 130
