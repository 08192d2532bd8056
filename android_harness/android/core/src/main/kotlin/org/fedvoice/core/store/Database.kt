package org.fedvoice.core.store

/**
 * What the example store needs of SQLite, so that any host's SQLite will do.
 *
 * Values are Long, Int, Double, String, ByteArray or null; rows come back with Long for integers.
 * Every connection has `foreign_keys` and `secure_delete` on and waits up to 30 s for another
 * process's transaction. All methods throw [DatabaseFailure].
 */
interface Database {
    /** The file, for errors. */
    val where: String

    /** Runs [work] in one transaction: all of it or, if it throws, nothing. */
    fun <T> transaction(work: (Statements) -> T): T

    /** Runs one statement outside any transaction (`VACUUM`). */
    fun execute(sql: String)
}

/** Statements inside a transaction; `?` stands for the values in order. */
interface Statements {
    fun execute(sql: String, vararg values: Any?)

    fun query(sql: String, vararg values: Any?): List<List<Any?>>
}

/** What SQLite refused. @property full whether the disk has no room */
class DatabaseFailure(val full: Boolean, message: String, cause: Throwable) :
    Exception(message, cause)
