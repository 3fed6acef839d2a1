"""Collections where other frameworks look for them; each module needs the extra of its name.

``langchain``    a BaseRetriever
``llama_index``  a BaseRetriever
``haystack``     a component
``mcp``          a server for language models: ``pgrecall mcp``
"""
