"""Another model or another way of chunking, without downtime: a generation is built beside the active one.

The stored texts are chunked and embedded anew, a batch at a time, each in a flow that any process may run;
what is done is recorded with the documents, so that a run that was cut off is gone on with. Documents that
are written meanwhile reach both generations. Activating waits until nothing is missing, and takes one short
transaction.

``choice`` says which generation is meant, ``plan`` what filling it would cost, ``fill`` fills it, ``compare``
asks it the questions that the active one is asked, ``switch`` makes it the active one.
"""
