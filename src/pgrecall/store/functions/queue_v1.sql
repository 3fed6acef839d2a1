-- Hands a document over to the workers, as part of the caller's transaction; the number of its job.
--
-- The newest version wins: older ones that wait, or have failed, are dropped. Those that another transaction
-- holds are left to the worker, which takes a document's jobs one after the other, so nobody waits here.
CREATE FUNCTION pgrecall.enqueue(
    collection text,
    uri text,
    text text,
    title text DEFAULT NULL,
    metadata jsonb DEFAULT '{}',
    tenant_id text DEFAULT '',
    mime_type text DEFAULT 'text/plain',
    markup text DEFAULT NULL,
    language text DEFAULT NULL,
    pages integer[] DEFAULT '{}',
    notes text[] DEFAULT '{}',
    source text DEFAULT NULL,
    media bytea DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    here integer;
    job bigint;
    called constant text := regexp_replace(enqueue.uri, '^\s+|\s+$', '', 'g');
BEGIN
    SELECT c.collection_id INTO here FROM pgrecall.collections AS c WHERE c.name = enqueue.collection;
    IF here IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PR001', MESSAGE = format(
            'there is no collection named "%s"; `pgrecall collections` lists them', enqueue.collection);
    END IF;
    IF coalesce(called, '') = '' OR enqueue.text IS NULL OR enqueue.tenant_id IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PR004',
            MESSAGE = 'a document has a uri, a text and a tenant_id; the last may be empty';
    END IF;
    IF octet_length(called) > 2000 OR octet_length(enqueue.tenant_id) > 500 THEN
        RAISE EXCEPTION USING ERRCODE = 'PR004',
            MESSAGE = 'a uri has at most 2,000 bytes, a tenant_id at most 500';
    END IF;
    IF jsonb_typeof(coalesce(enqueue.metadata, '{}')) <> 'object' THEN
        RAISE EXCEPTION USING ERRCODE = 'PR004',
            MESSAGE = 'metadata is a JSON object: {"key": value}';
    END IF;
    IF enqueue.markup NOT IN ('plain', 'markdown', 'code') THEN
        RAISE EXCEPTION USING ERRCODE = 'PR004',
            MESSAGE = format('markup is plain, markdown or code, not "%s"', enqueue.markup);
    END IF;
    PERFORM enqueue.language::regconfig; -- refuses what no text search configuration is called
    DELETE FROM pgrecall.procrastinate_jobs WHERE id IN (
        SELECT j.id FROM pgrecall.queue AS q
          JOIN pgrecall.procrastinate_jobs AS j ON j.id = q.job_id
         WHERE q.collection_id = here AND q.uri = called AND q.tenant_id = enqueue.tenant_id
           AND j.status IN ('todo', 'failed')
           FOR UPDATE SKIP LOCKED);
    INSERT INTO pgrecall.procrastinate_jobs (queue_name, task_name, lock, args)
    VALUES ('pgrecall', 'pgrecall.ingest',
            encode(sha256(convert_to(jsonb_build_array(
                here, enqueue.tenant_id, called)::text, 'UTF8')), 'hex'),
            jsonb_build_object('uri', called))
    RETURNING id INTO job;
    INSERT INTO pgrecall.queue (job_id, collection_id, tenant_id, uri, source, title, mime_type, markup,
                                language, text, pages, metadata, notes, media)
    VALUES (job, here, enqueue.tenant_id, called, enqueue.source, enqueue.title,
            coalesce(enqueue.mime_type, 'text/plain'), enqueue.markup, enqueue.language, enqueue.text,
            coalesce(enqueue.pages, '{}'), coalesce(enqueue.metadata, '{}'), coalesce(enqueue.notes, '{}'),
            enqueue.media);
    RETURN job;
END
$$;
